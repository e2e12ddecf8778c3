"""What the loop does with good records and with bad ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from libs.common.burial import ONLY_GROUP
from libs.common.consumer import Consumer, handles
from libs.common.db import AsyncConnection, text
from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import ALL_OF_EACH, Batch, ReadRecord, Record, TopicPartition
from libs.common.events import AccountWentSilent, Event, TelemetryReceived, TouchCancelled, encode
from libs.common.progress import Patience
from libs.common.received import BREAKER_LIMIT
from libs.common.testing import eventually
from libs.common.topics import PARTITIONS, Topic
from tests.integration.common.conftest import World
from tests.integration.common.scripted_log import ScriptedLog
from tests.integration.common.tally import QUICK, on_telemetry_received, publish, tally, telemetry

PLACE = TopicPartition(Topic.TELEMETRY, 4)


def once(*numbers: int) -> dict[str, int]:
    return {f"message-{n}": 1 for n in numbers}


async def test_every_event_of_every_partition_has_its_effect_once(world: World) -> None:
    await publish(world.log, [telemetry(n) for n in range(300)])
    await publish(world.log, [telemetry(n) for n in range(0, 300, 3)])  # a client that sends again
    await world.run_until_caught_up(tally(world.log, world.worker, batch_size=20))
    assert await world.times() == once(*range(300))
    assert await world.ask("SELECT count(*) FROM tally.outbox") == 300
    assert await world.ask("SELECT count(DISTINCT partition) FROM tally.consumer_position") == PARTITIONS


async def test_handlers_run_in_the_declared_order_and_get_all_events_of_their_type(world: World) -> None:
    calls: list[tuple[str, int]] = []

    async def on_touch_cancelled(_connection: AsyncConnection, events: list[TouchCancelled]) -> list[Event]:
        calls.append(("cancelled", len(events)))
        return []

    async def on_telemetry(_connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
        calls.append(("telemetry", len(events)))
        return []

    async def on_silence(_connection: AsyncConnection, events: list[AccountWentSilent]) -> list[Event]:
        raise AssertionError("there is none")

    mixed = [
        event
        for n in range(3)
        for event in (
            telemetry(n),
            TouchCancelled(workspace=1, id=f"c{n}", account_id="a", touch_id="t", reason="r"),
        )
    ]
    await world.log.append(Topic.TELEMETRY, [Record(event.key, encode(event)) for event in mixed], 0)
    handlings: list[Any] = [
        handles(TouchCancelled, on_touch_cancelled),
        handles(AccountWentSilent, on_silence),
        handles(TelemetryReceived, on_telemetry),
    ]
    await world.run_until_caught_up(tally(world.log, world.worker, handlings=handlings))
    assert calls == [("cancelled", 3), ("telemetry", 3)]


# --- bad records ---


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("raise", "ZeroDivisionError"), ("invalid", "no_such_plan"), ("nul", "DBAPIError")],
    ids=["the handler raises", "the handler refuses", "the database refuses"],
)
async def test_the_one_bad_record_of_500_is_found_and_the_other_499_have_their_effect(
    world: World, fault: str, reason: str
) -> None:
    events = [telemetry(n, event=fault if n == 317 else "Report Opened") for n in range(500)]
    await publish(world.log, events, PLACE.partition)
    await world.run_until_caught_up(tally(world.log, world.worker))
    assert await world.times() == once(*(n for n in range(500) if n != 317))
    [letter] = await world.letters()
    assert (letter["partition"], letter["log_offset"], letter["reason"]) == (4, 317, reason)
    assert (letter["value"], letter["workspace_id"]) == (encode(events[317]), 1)
    assert letter["claim"].bytes == events[317].claim()
    # Its id is not claimed, so that it can come back; and what would have followed from it does not.
    assert await world.ask("SELECT count(*) FROM tally.outbox WHERE topic = 'touches'") == 499
    copies = await world.owner.fetch("SELECT value FROM tally.outbox WHERE topic = 'telemetry-dlq'")
    assert [copy["value"] for copy in copies] == [encode(events[317])]


async def test_a_record_that_loses_a_race_is_not_blamed_for_it(world: World) -> None:
    """Two transactions want the same unique key; the loser finds the winner's row the second time."""
    attempts = 0

    async def on_telemetry(connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await connection.execute(text("INSERT INTO effect VALUES (1, 'a', 1), (1, 'a', 1)"))
        return await on_telemetry_received(connection, events)

    await publish(world.log, [telemetry(1)])
    await world.run_until_caught_up(
        tally(world.log, world.worker, handlings=[handles(TelemetryReceived, on_telemetry)])
    )
    assert attempts == 2
    assert await world.times() == once(1)
    assert await world.letters() == []


async def test_a_record_that_does_not_decode_becomes_a_letter_with_its_bytes(world: World) -> None:
    garbage = b"\x00\xff not json \xed\xa0\x80"
    headers = {"trace": b"\x00\xff", "nul\0": b"", "\ud7ff": b"x"}
    await world.log.append(Topic.TELEMETRY, [Record(b"no \xff workspace", garbage, headers)], 0)
    await world.log.append(Topic.TELEMETRY, [Record(b"2:x", b""), Record(b"2:x", b'{"type":"of.tomorrow.v1"}')], 0)
    await publish(world.log, [telemetry(1)], partition=0)
    await world.run_until_caught_up(tally(world.log, world.worker))
    first, empty, unknown = await world.letters()
    assert (first["value"], first["key"], first["reason"]) == (garbage, b"no \xff workspace", "not_json")
    assert (first["workspace_id"], empty["workspace_id"], unknown["workspace_id"]) == (None, 2, 2)
    assert (empty["value"], empty["reason"], unknown["reason"]) == (b"", "not_json", "unknown_type")
    assert await world.times() == once(1)


async def test_a_refusal_is_never_refused_itself(world: World) -> None:
    """What a handler says when it stumbles may hold what PostgreSQL does not take."""

    async def stumble(_connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
        raise ValueError(f"NUL \0, half a pair \ud800, and very long {'x' * 10_000}")

    await publish(world.log, [telemetry(1)])
    await world.run_until_caught_up(tally(world.log, world.worker, handlings=[handles(TelemetryReceived, stumble)]))
    [letter] = await world.letters()
    assert letter["detail"].startswith("NUL \\0, half a pair \\ud800")
    assert len(letter["detail"]) == 2000


async def test_a_record_as_large_as_the_log_takes_can_be_buried(world: World) -> None:
    value = b"x" * 1_039_000
    await world.log.append(Topic.TELEMETRY, [Record(b"1:x", value, {"h": b"y" * 980})], 0)
    await world.run_until_caught_up(tally(world.log, world.worker))
    [letter] = await world.letters()
    assert letter["value"] == value
    assert await world.ask("SELECT octet_length(value) FROM tally.outbox") == 0  # the copy does without it


async def test_what_follows_from_an_event_and_is_too_large_is_the_fault_of_the_event(world: World) -> None:
    async def inflate(connection: AsyncConnection, events: list[TelemetryReceived]) -> Sequence[Event]:
        following = await on_telemetry_received(connection, events)
        huge = [event for event in events if event.event == "huge"]
        return [
            *following,
            *(
                TouchCancelled(workspace=1, id=one.id, account_id="a", touch_id="t", reason="x" * 1_000_000)
                for one in huge
            ),
        ]

    await publish(world.log, [telemetry(n, event="huge" if n == 3 else "small") for n in range(9)], 0)
    await world.run_until_caught_up(tally(world.log, world.worker, handlings=[handles(TelemetryReceived, inflate)]))
    assert [letter["reason"] for letter in await world.letters()] == ["too_large"]
    assert await world.times() == once(*(n for n in range(9) if n != 3))


async def test_bisecting_passes_over_holes(world: World) -> None:
    faults = {3: "raise", 4: "invalid"}
    records = [
        ReadRecord(b"1:x", encode(telemetry(n, event=faults.get(n, "fine"))), {}, 100 + 7 * n) for n in range(10)
    ]
    log = ScriptedLog([Batch(PLACE, 0, 90, []), Batch(PLACE, 90, 400, records), Batch(PLACE, 400, 400, [])])
    async with world.running(tally(log, world.worker)):
        await log.delivered.wait()
    assert await world.times() == once(*(n for n in range(10) if n not in faults))
    assert [letter["log_offset"] for letter in await world.letters()] == [121, 128]
    assert await world.ask("SELECT next FROM tally.consumer_position WHERE partition = $1", PLACE.partition) == 400


# --- the breaker ---


@pytest.mark.parametrize("how", ["handler", "decoder"])
async def test_a_bad_release_does_not_drain_the_topic(world: World, how: str) -> None:
    """Forty good records, then a hundred that this release cannot take: it stops after 25 of these, for good."""
    good = [telemetry(n) for n in range(40)]
    await publish(world.log, good, PLACE.partition)
    if how == "handler":
        await publish(world.log, [telemetry(n, event="raise") for n in range(40, 140)], PLACE.partition)
    else:
        await world.log.append(Topic.TELEMETRY, [Record(b"1:x", b"?")] * 100, PLACE.partition)
    await publish(world.log, [telemetry(1000)], 5)

    for _ in range(2):  # a restart changes nothing
        consumer = tally(world.log, world.worker, patience=QUICK)
        async with world.running(consumer):
            await until_stopped(consumer)
            await world.until_passed(5, 1)
        assert len(await world.letters()) == BREAKER_LIMIT
        assert await world.times() == once(*range(40), 1000)
        assert await world.position(PLACE.partition) == 40 + BREAKER_LIMIT


class LosesItsSession(ScriptedLog):
    """Once, after its first batch; somebody else has processed that when it is back."""

    lost = False

    async def next_batch(
        self, max_records: int, timeout_seconds: float, most_of: Mapping[Topic, int] = ALL_OF_EACH
    ) -> Batch | None:
        if self.rewound and not self.lost:
            self.lost = True
            self.script.clear()
            raise RetryLater("the session that holds the partitions is gone")
        return await super().next_batch(max_records, timeout_seconds)


async def test_what_was_tried_before_the_session_was_lost_is_not_held_against_the_process(world: World) -> None:
    async def on_telemetry(_connection: AsyncConnection, _events: list[TelemetryReceived]) -> list[Event]:
        raise RetryLater("the connection was lost in the middle")

    record = ReadRecord(b"k", encode(telemetry(1)), {}, 0)
    log = LosesItsSession([Batch(PLACE, 0, 1, [record])])
    consumer = tally(
        log,
        world.worker,
        handlings=[handles(TelemetryReceived, on_telemetry)],
        patience=Patience(retrying_seconds=0),
    )

    async def back_and_ready() -> bool:
        return log.lost and log.delivered.is_set() and await consumer.ready() is None

    async with world.running(consumer):
        await eventually(back_and_ready, what="readiness")


async def test_a_batch_that_is_tried_again_and_again_makes_the_process_unready(world: World) -> None:
    """Somebody holds a lock on a table of ours: nothing is lost, nothing is refused, and nothing goes on."""
    blocked = True

    async def on_telemetry(connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
        if blocked:
            raise RetryLater("the table is locked")
        return await on_telemetry_received(connection, events)

    consumer = tally(
        world.log,
        world.worker,
        handlings=[handles(TelemetryReceived, on_telemetry)],
        patience=Patience(retrying_seconds=0.2),
    )
    await publish(world.log, [telemetry(1)], PLACE.partition)

    async def unready() -> bool:
        place = f"{PLACE.topic}/{PLACE.partition}"
        return f"{place} has been trying the same batch for" in (await consumer.ready() or "")

    async def ready() -> bool:
        return await consumer.ready() is None

    async with world.running(consumer):
        await eventually(unready, what="unready")
        blocked = False
        await eventually(ready, what="ready again")
    assert await world.times() == once(1)


async def until_stopped(consumer: Consumer) -> None:
    async def stopped() -> bool:
        return "is stopped: 25 records in a row" in (await consumer.ready() or "")

    await eventually(stopped, what="the breaker opens")


async def test_a_better_release_goes_on_where_the_breaker_stopped(world: World) -> None:
    await publish(world.log, [telemetry(n, event="raise") for n in range(60)], PLACE.partition)
    bad = tally(world.log, world.worker, patience=QUICK)
    async with world.running(bad):
        await until_stopped(bad)

    async def on_telemetry(connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
        return await on_telemetry_received(connection, [telemetry(n) for n in range(25, 60)])

    good = tally(world.log, world.worker, handlings=[handles(TelemetryReceived, on_telemetry)])
    await world.run_until_caught_up(good)
    assert await good.ready() is None
    assert await world.times() == once(*range(25, 60))
    assert await world.ask("SELECT max(refused_in_a_row) FROM tally.consumer_position") == 0


async def test_what_stopped_a_partition_may_pass_by_itself(world: World) -> None:
    """The process is the same one: what its handler needed came back."""
    broken = True

    async def on_telemetry(connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
        if broken:
            raise KeyError("a setting that is missing")
        return await on_telemetry_received(connection, events)

    await publish(world.log, [telemetry(n) for n in range(60)], PLACE.partition)
    consumer = tally(world.log, world.worker, patience=QUICK, handlings=[handles(TelemetryReceived, on_telemetry)])
    async with world.running(consumer):
        await until_stopped(consumer)
        broken = False
        await world.until_caught_up()
        assert await consumer.ready() is None
    assert await world.times() == once(*range(25, 60))


# --- the world ---


async def test_a_handler_that_asks_for_later_is_tried_again_with_less(world: World) -> None:
    sizes: list[int] = []

    async def on_telemetry(connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
        sizes.append(len(events))
        if len(events) > 10:
            raise RetryLater("too much at once")
        return await on_telemetry_received(connection, events)

    await publish(world.log, [telemetry(n) for n in range(40)], PLACE.partition)
    await world.run_until_caught_up(
        tally(world.log, world.worker, batch_size=40, handlings=[handles(TelemetryReceived, on_telemetry)])
    )
    assert sizes[:3] == [40, 20, 10]
    assert await world.times() == once(*range(40))
    assert await world.letters() == []


async def test_a_batch_that_somebody_else_has_processed_is_dropped(world: World) -> None:
    one = ReadRecord(b"1:x", encode(telemetry(1)), {}, 0)
    two = ReadRecord(b"1:x", encode(telemetry(2)), {}, 1)
    log = ScriptedLog([Batch(PLACE, 0, 1, [one]), Batch(PLACE, 0, 2, [one, two])])
    async with world.running(tally(log, world.worker)):
        await log.delivered.wait()
    assert log.dropped == [PLACE]
    assert await world.times() == once(1)


async def test_another_log_is_refused_with_a_sentence(world: World) -> None:
    batch = Batch(PLACE, 0, 1, [ReadRecord(b"1:x", encode(telemetry(1)), {}, 0)])
    log = ScriptedLog([batch])
    async with world.running(tally(log, world.worker)):
        await log.delivered.wait()
    with pytest.raises(NotStarted, match="connect the old log again"):
        await tally(ScriptedLog([batch], identity="another"), world.worker).run(asyncio.Event())


async def test_a_replay_for_another_group_is_passed_over(world: World) -> None:
    event = telemetry(1)
    await world.log.append(Topic.TELEMETRY, [Record(event.key, encode(event), {ONLY_GROUP: b"echo"})], 0)
    await world.run_until_caught_up(tally(world.log, world.worker))
    assert await world.times() == {}
    assert await world.letters() == []


async def test_a_loop_that_cannot_reach_its_database_waits_and_goes_on(world: World) -> None:
    await publish(world.log, [telemetry(n) for n in range(50)])
    consumer = tally(world.log, world.worker, batch_size=5)
    async with world.running(consumer):
        for _ in range(5):
            await world.ask(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1",
                world.worker.role,
            )
        await world.until_caught_up()
        assert await consumer.live() is None
    assert await world.times() == once(*range(50))
    assert await world.letters() == []
