"""The event log over HTTP: what an operator sees of a consumer group, and how a position is moved on purpose."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.common.clock import FixedClock, wall_now
from libs.common.consumer import Consumer
from libs.common.event_log import Batch
from libs.common.testing import eventually
from libs.common.topics import PARTITIONS, Topic
from tests.integration.common import desk as desks
from tests.integration.common.conftest import World
from tests.integration.common.desk import Desk
from tests.integration.common.member import WithoutCompareAndSet
from tests.integration.common.scripted_log import ScriptedLog
from tests.integration.common.tally import QUICK, publish, tally, telemetry

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


async def move_by_hand(world: World, position: int) -> None:
    await world.owner.execute("UPDATE tally.consumer_position SET next = $1 WHERE partition = 4", position)


async def read_ten(world: World) -> None:
    await publish(world.log, [telemetry(n) for n in range(10)], 4)
    await world.run_until_caught_up(tally(world.log, world.worker))


async def expire(world: World) -> None:
    """Retention has dropped the first eight records of partition 4."""
    await world.owner.execute("DELETE FROM log.record WHERE position < 8")
    await world.owner.execute("UPDATE log.topic_partition SET earliest = 8 WHERE topic = 'telemetry' AND partition = 4")


# --- looking ---


async def test_what_was_never_read_has_everything_to_read(world: World, desk: Desk) -> None:
    await publish(world.log, [telemetry(n) for n in range(3)], 4)
    answer = (await desk.ask("operator", "GET", "/v1/log")).json()
    assert (answer["group"], answer["moves"]) == ("tally", [])
    assert answer["identities"] == {"telemetry": await world.log.identity(Topic.TELEMETRY)}
    assert [one["partition"] for one in answer["partitions"]] == list(range(PARTITIONS))
    fourth = answer["partitions"][4]
    assert 0 <= fourth.pop("lag_seconds") < 10
    assert fourth == {
        "topic": "telemetry",
        "partition": 4,
        "position": None,
        "log_identity": None,
        "earliest": 0,
        "end": 3,
        "lag_records": 3,
        "caught_up_to": None,
        "stopped": None,
    }


async def test_lag_is_told_in_records_and_in_seconds_of_the_logs_own_clock(world: World, desk: Desk) -> None:
    await read_ten(world)
    assert (await desk.partition(4))["lag_seconds"] == 0
    await publish(world.log, [telemetry(n) for n in range(10, 13)], 4)
    fourth = await desk.partition(4)
    assert (fourth["position"], fourth["end"], fourth["lag_records"]) == (10, 13, 3)
    assert fourth["log_identity"] == await world.log.identity(Topic.TELEMETRY)
    appended_at = await world.ask("SELECT appended_at FROM log.record WHERE position = 10")
    before = wall_now()
    seconds = (await desk.partition(4))["lag_seconds"]
    at_most = round((wall_now() - appended_at).total_seconds(), 3)  # the desk rounds too
    assert (before - appended_at).total_seconds() - 0.01 <= seconds <= at_most
    assert seconds > fourth["lag_seconds"] >= 0


async def test_it_tells_how_far_time_has_come(world: World, desk: Desk) -> None:
    async def come() -> bool:
        return bool((await desk.partition(4))["caught_up_to"] == "2026-03-02T12:00:00Z")

    async with world.running(tally(world.log, world.worker, timekeeping=True, clock=FixedClock(NOON))):
        await eventually(come, what="it is noon")


async def test_a_partition_that_the_breaker_stopped_is_shown_with_the_way_out(world: World, desk: Desk) -> None:
    await publish(world.log, [telemetry(n, event="raise") for n in range(40)], 4)

    async def stopped() -> Any:
        return (await desk.partition(4))["stopped"]

    async with world.running(tally(world.log, world.worker, patience=QUICK)):
        found = await eventually(stopped, what="the breaker opens")
    assert (found["cause"], found["why"]) == (
        "breaker",
        "telemetry/4 is stopped: 25 records in a row were refused.",
    )
    assert "`kizashi dlq allow telemetry 4 100 --service tally`" in found["way_out"]


@pytest.mark.parametrize("noticed", [True, False], ids=["the reader has noticed", "nobody reads"])
async def test_a_lost_position_is_shown_whoever_is_asked(world: World, desk: Desk, noticed: bool) -> None:
    await read_ten(world)
    await move_by_hand(world, 99)
    if noticed:
        consumer = tally(world.log, world.worker, patience=QUICK)
        async with world.running(consumer):
            await eventually(lambda: is_stopped(consumer), what="the reader stops")
    found = (await desk.partition(4))["stopped"]
    assert found == {
        "cause": "lost",
        "why": "telemetry/4 cannot be read from position 99: the log holds 0 to 10, the log has never been that far.",
        "way_out": "`kizashi log skip tally telemetry 4 --to earliest` goes on with what the log still holds.",
    }


async def is_stopped(consumer: Consumer) -> bool:
    return "cannot be read from" in (await consumer.ready() or "")


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/log"), ("POST", "/v1/log/skip")])
async def test_it_is_for_operators(desk: Desk, method: str, path: str) -> None:
    for who in ("one", "reader"):
        assert (await desk.ask(who, method, path, json={})).status_code == 403


async def test_a_log_that_does_not_answer_is_said_to_be_the_reason(world: World) -> None:
    log = ScriptedLog()
    log.silent = True
    async with desks.opened(world.url, world.owner, log) as desk:
        for answer in (await desk.ask("operator", "GET", "/v1/log"), await desk.skip(4, "earliest", 0)):
            assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable")
            assert "the broker is frozen" in answer.json()["message"]


# --- moving ---


@pytest.mark.parametrize(("to", "moved_to", "passed_over"), [("earliest", 8, 5), ("latest", 10, 7), (9, 9, 6)], ids=str)
async def test_a_lost_position_is_moved_and_the_reader_goes_on(
    world: World, desk: Desk, to: object, moved_to: int, passed_over: int
) -> None:
    await read_ten(world)
    await world.owner.execute("TRUNCATE tally.effect")
    await move_by_hand(world, 3)
    await expire(world)
    consumer = tally(world.log, world.worker, patience=QUICK)
    async with world.running(consumer):
        await eventually(lambda: is_stopped(consumer), what="the reader stops")
        answer = await desk.skip(4, to, 3)
        assert answer.status_code == 200, answer.text
        await publish(world.log, [telemetry(100)], 4)
        await world.until_caught_up()
    assert answer.json() == {
        "topic": "telemetry",
        "partition": 4,
        "moved_from": 3,
        "moved_to": moved_to,
        "passed_over": passed_over,
        "read_again": 0,
    }
    assert (await desk.partition(4))["stopped"] is None
    assert (await desk.partition(4))["position"] == 11
    [move] = (await desk.ask("operator", "GET", "/v1/log")).json()["moves"]
    assert (move["moved_from"], move["moved_to"]) == (3, moved_to)
    assert f"kzs_{move['moved_by']}_" in desk.keys["operator"]


async def test_what_is_moved_back_is_read_again_and_absorbed(world: World, desk: Desk) -> None:
    """Beyond its end the log was lost, so nobody can tell what of it was read: all of it is read again."""
    await read_ten(world)
    await move_by_hand(world, 99)
    await publish(world.log, [telemetry(n) for n in range(10, 15)], 4)
    answer = (await desk.skip(4, "earliest", 99)).json()
    assert (answer["passed_over"], answer["read_again"]) == (0, 15)
    await world.run_until_caught_up(tally(world.log, world.worker))
    assert await world.times() == {f"message-{n}": 1 for n in range(15)}


async def take_back(world: World, desk: Desk, kind: type[Consumer]) -> None:
    """An operator has passed over twenty records, and takes it back while somebody has the next batch in hand."""
    in_hand, taken_back = asyncio.Event(), asyncio.Event()

    class Slow(kind):  # type: ignore[valid-type, misc]
        async def _apply(self, batch: Batch) -> None:
            in_hand.set()
            await taken_back.wait()
            await super()._apply(batch)

    await read_ten(world)
    await publish(world.log, [telemetry(n) for n in range(10, 30)], 4)
    assert (await desk.skip(4, "latest", 10, force=True)).json()["passed_over"] == 20
    await publish(world.log, [telemetry(30)], 4)
    async with world.running(tally(world.log, world.worker, Slow)):
        await in_hand.wait()
        assert (await desk.skip(4, 10, 30, force=True)).json()["read_again"] == 20
        taken_back.set()
        await world.until_caught_up()


async def test_what_is_taken_back_is_read_although_a_batch_is_in_hand(world: World, desk: Desk) -> None:
    await take_back(world, desk, Consumer)
    assert await world.times() == {f"message-{n}": 1 for n in range(31)}


async def test_without_the_compare_and_set_what_is_taken_back_is_lost(world: World, desk: Desk) -> None:
    """The negative control. Claims are at work, and help nothing: they recognise what comes twice, and this never
    comes at all."""
    await take_back(world, desk, WithoutCompareAndSet)
    assert await world.times() == {f"message-{n}": 1 for n in (*range(10), 30)}


async def test_a_position_from_which_nothing_is_lost_is_moved_only_by_force(world: World, desk: Desk) -> None:
    await publish(world.log, [telemetry(n, event="raise") for n in range(40)], 4)
    await publish(world.log, [telemetry(100)], 4)
    consumer = tally(world.log, world.worker, patience=QUICK)
    async with world.running(consumer):
        await world.until_passed(4, 25)
        refused = await desk.skip(4, 40, 25)
        assert (refused.status_code, refused.json()["code"]) == (409, "nothing_lost")
        assert (await desk.skip(4, 40, 25, force=True)).json()["passed_over"] == 15
        await world.until_caught_up()
        assert await consumer.ready() is None
    assert await world.times() == {"message-100": 1}
    assert await world.ask("SELECT refused_in_a_row FROM tally.consumer_position WHERE partition = 4") == 0


@pytest.mark.parametrize(
    ("what", "status", "code"),
    [
        ({"expected": 98}, 409, "position_moved"),
        ({"to": 11}, 409, "not_in_the_log"),
        ({"to": -1}, 409, "not_in_the_log"),
        ({"to": "newest"}, 422, "invalid_request"),
        ({"partition": 12}, 422, "invalid_request"),
        ({"topic": "touches"}, 404, "unknown_partition"),
        ({"topic": "nothing"}, 422, "invalid_request"),
    ],
    ids=str,
)
async def test_what_does_not_fit_is_refused_and_moves_nothing(
    world: World, desk: Desk, what: dict[str, Any], status: int, code: str
) -> None:
    await read_ten(world)
    await move_by_hand(world, 99)
    body = {"topic": "telemetry", "partition": 4, "to": "earliest", "expected": 99} | what
    answer = await desk.ask("operator", "POST", "/v1/log/skip", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await world.position(4) == 99
    assert await world.ask("SELECT count(*) FROM tally.position_move") == 0


async def test_a_partition_that_was_never_read_has_no_position_to_move(desk: Desk) -> None:
    answer = await desk.skip(4, "earliest", 0, force=True)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_partition")


async def test_a_position_of_another_log_is_not_moved(world: World, desk: Desk) -> None:
    await read_ten(world)
    await world.owner.execute("UPDATE tally.consumer_position SET log_identity = 'another', next = 99")
    answer = await desk.skip(4, "earliest", 99)
    assert (answer.status_code, answer.json()["code"]) == (409, "another_log")
