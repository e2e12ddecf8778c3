"""Dead letters are shown as they were, come back to the group that refused them, and have their effects once."""

from __future__ import annotations

import base64
import uuid
from datetime import date, timedelta
from typing import Any

import pytest

from libs.common.claims import prepare_day
from libs.common.consumer import Consumer, handles
from libs.common.db import AsyncConnection
from libs.common.ddl import CLAIM_TABLES, CLAIM_WINDOW_DAYS
from libs.common.event_log import Record
from libs.common.events import Event, TelemetryReceived, encode
from libs.common.outbox import Relay
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.integration.common.conftest import World
from tests.integration.common.desk import Desk
from tests.integration.common.tally import QUICK, on_telemetry_received, publish, tally, telemetry, worker


def mended(world: World, **differently: Any) -> Consumer:
    """A release that takes what the one before stumbled over."""

    return tally(world.log, world.worker, handlings=[handles(TelemetryReceived, take_all)], **differently)


async def take_all(connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
    return await on_telemetry_received(connection, [telemetry(int(event.id.split("-")[1])) for event in events])


async def refuse(world: World, *events: Event) -> list[uuid.UUID]:
    await publish(world.log, events)
    await world.run_until_caught_up(tally(world.log, world.worker))
    return [letter["id"] for letter in await world.letters()]


async def publish_and_read(world: World, consumer: Consumer) -> None:
    async def all_out() -> bool:
        return bool(await world.ask("SELECT count(*) = 0 FROM tally.outbox"))

    async with world.running(Relay("tally", world.worker, world.log, world.url), consumer):
        await eventually(all_out, what="the outbox is empty")
        await world.until_caught_up()
        await eventually(all_out, what="the outbox is empty")


# --- looking ---


async def test_letters_are_listed_and_shown_with_their_original_bytes(world: World, desk: Desk) -> None:
    await world.log.append(
        Topic.TELEMETRY, [Record(b"1:\xff", b"\x00\xffnot json", {"trace": b"\xfe", "nul\0": b""})], 0
    )
    [letter] = await refuse(world)
    [listed] = (await desk.letters("one", "GET", "")).json()
    assert (listed["id"], listed["workspace"], listed["reason"]) == (str(letter), 1, "not_json")
    assert (listed["topic"], listed["partition"], listed["offset"]) == ("telemetry", 0, 0)
    assert "value" not in listed
    shown = (await desk.letters("one", "GET", f"/{letter}")).json()
    assert base64.b64decode(shown["value"]) == b"\x00\xffnot json"
    assert base64.b64decode(shown["key"]) == b"1:\xff"
    assert shown["text"] == "\x00\ufffdnot json"
    assert shown["headers"] == {"trace": "\ufffd", "nul\0": ""}


async def test_another_workspaces_letter_is_as_unknown_as_none(world: World, desk: Desk) -> None:
    [letter] = await refuse(world, telemetry(1, event="raise", workspace=2))
    for method, path in (("GET", f"/{letter}"), ("POST", f"/{letter}/replay")):
        foreign = await desk.letters("one", method, path)
        nobody = await desk.letters("one", method, path.replace(str(letter), str(uuid.uuid4())))
        assert (foreign.status_code, foreign.json()["code"]) == (404, "unknown_letter")
        assert nobody.status_code == 404
    assert (await desk.letters("one", "GET", "")).json() == []
    assert len((await desk.letters("two", "GET", "")).json()) == 1


async def test_letters_of_no_workspace_are_for_operators(world: World, desk: Desk) -> None:
    await world.log.append(Topic.TELEMETRY, [Record(b"nobody's", b"?")], 0)
    [letter] = await refuse(world)
    assert (await desk.letters("one", "GET", f"/{letter}")).status_code == 404
    assert (await desk.letters("operator", "GET", f"/{letter}")).status_code == 200
    assert len((await desk.letters("operator", "GET", "")).json()) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", f"/{uuid.UUID(int=1)}"), ("POST", f"/{uuid.UUID(int=1)}/replay"), ("POST", "/allowance")],
)
async def test_readers_may_not_look(desk: Desk, method: str, path: str) -> None:
    assert (await desk.letters("reader", method, path, json={})).status_code == 403


# --- replaying ---


async def test_a_replay_has_its_effect_in_the_group_that_asked_for_it_and_nowhere_else(
    world: World, desk: Desk
) -> None:
    """Another group reads the same topic and refused the same record; nobody has asked for a replay there."""
    other = worker(world.url, "echo")
    audit = tally(world.log, other, group="audit")
    letters = await refuse(world, telemetry(1, event="raise"), telemetry(2))
    await world.run_until_caught_up(audit, "echo")
    assert await desk.replay(letters[0]) == (200, "")
    await publish_and_read(world, mended(world))
    await world.run_until_caught_up(
        tally(world.log, other, group="audit", handlings=[handles(TelemetryReceived, take_all)]), "echo"
    )
    assert await world.times() == {"message-1": 1, "message-2": 1}
    assert await world.times("echo") == {"message-2": 1}
    [letter] = await world.letters()
    assert letter["replayed_at"] < letter["settled_at"]
    await other.close()


async def test_a_letter_is_replayed_once(world: World, desk: Desk) -> None:
    [letter] = await refuse(world, telemetry(1, event="raise"))
    assert await desk.replay(letter) == (200, "")
    assert await desk.replay(letter) == (409, "already_replayed")
    await publish_and_read(world, mended(world))
    assert await desk.replay(letter) == (409, "already_replayed")
    assert await world.times() == {"message-1": 1}


async def test_a_replay_that_is_published_twice_has_its_effect_once(world: World, desk: Desk) -> None:
    """As after a crash between publishing and deleting; here the second copy comes when claims have forgotten."""
    [letter] = await refuse(world, telemetry(1, event="raise"))
    await desk.replay(letter)
    await world.owner.execute(
        "INSERT INTO tally.outbox (topic, partition, key, value, headers) "
        "SELECT topic, partition, key, value, headers FROM tally.outbox WHERE topic = 'telemetry'"
    )
    await publish_and_read(world, mended(world, batch_size=1))
    assert await world.times() == {"message-1": 1}
    await forget_claims(world)
    await world.log.append(
        Topic.TELEMETRY,
        [Record(telemetry(1).key, encode(telemetry(1)), {"kizashi-letter": str(letter).encode()})],
    )
    await world.run_until_caught_up(tally(world.log, world.worker))
    assert await world.times() == {"message-1": 1}


async def test_what_was_applied_since_is_not_applied_again_even_when_its_claim_is_forgotten(
    world: World, desk: Desk
) -> None:
    """The client sent it again and that copy was taken; the letter is replayed after the claims' window."""
    [letter] = await refuse(world, telemetry(1, event="raise"))
    await publish(world.log, [telemetry(1)])
    await world.run_until_caught_up(tally(world.log, world.worker))
    await forget_claims(world)
    assert await desk.replay(letter) == (409, "already_settled")
    assert await world.times() == {"message-1": 1}


async def test_two_letters_of_one_event_have_its_effect_once(world: World, desk: Desk) -> None:
    letters = await refuse(world, telemetry(1, event="raise"), telemetry(1, event="raise"))
    assert len(letters) == 2
    for letter in letters:
        assert await desk.replay(letter) == (200, "")
    await publish_and_read(world, mended(world))
    assert await world.times() == {"message-1": 1}


async def test_a_replay_that_is_refused_again_is_a_new_letter(world: World, desk: Desk) -> None:
    [first] = await refuse(world, telemetry(1, event="raise"))
    await desk.replay(first)
    await publish_and_read(world, tally(world.log, world.worker))
    [second] = [letter["id"] for letter in await world.letters() if letter["id"] != first]
    assert await desk.replay(first) == (409, "already_replayed")
    assert await desk.replay(second) == (200, "")
    await publish_and_read(world, mended(world))
    assert await world.times() == {"message-1": 1}


async def test_a_record_that_never_decoded_comes_back_only_while_claims_remember(world: World, desk: Desk) -> None:
    await world.log.append(Topic.TELEMETRY, [Record(b"1:x", b'{"type":"of.tomorrow.v1"}')] * 2, 0)
    young, old = await refuse(world)
    await world.owner.execute(
        f"UPDATE tally.dead_letter SET died_at = now() - interval '{CLAIM_WINDOW_DAYS} days 1 second' WHERE id = $1",
        old,
    )
    assert await desk.replay(young) == (200, "")
    assert await desk.replay(old) == (409, "too_old")


async def test_a_replay_whose_letter_is_gone_has_no_effect(world: World, desk: Desk) -> None:
    [letter] = await refuse(world, telemetry(1, event="raise"))
    await desk.replay(letter)
    await world.owner.execute("UPDATE tally.dead_letter SET died_at = now() - interval '15 days'")
    await publish_and_read(world, mended(world))
    assert await world.letters() == []
    assert await world.times() == {}


async def test_an_operator_lets_a_stopped_partition_refuse_more(world: World, desk: Desk) -> None:
    """A hundred records of a broken producer: after 25 the partition stops; somebody looks, and lets the rest die."""
    await world.log.append(Topic.TELEMETRY, [Record(b"1:x", b"?")] * 100, 4)
    await publish(world.log, [telemetry(1)], 4)
    consumer = tally(world.log, world.worker, patience=QUICK)
    async with world.running(consumer):
        await world.until_passed(4, 25)
        more = {"topic": "telemetry", "partition": 4, "records": 50}
        assert (await desk.letters("operator", "POST", "/allowance", json=more)).status_code == 200
        await world.until_caught_up()
    assert len(await world.letters()) == 100
    assert await world.times() == {"message-1": 1}
    assert (await desk.letters("one", "POST", "/allowance", json=more)).status_code == 403
    assert (await desk.letters("operator", "POST", "/allowance", json=more | {"topic": "touches"})).status_code == 404
    assert (await desk.letters("operator", "POST", "/allowance", json=more | {"partition": 12})).status_code == 422


async def forget_claims(world: World) -> None:
    """Live through as many days as the ring has tables."""
    today: date = await world.ask("SELECT now()::date")
    for later in range(CLAIM_TABLES + 2):
        await prepare_day(world.worker, today + timedelta(days=later))
    await world.owner.execute("TRUNCATE tally.claim_day")  # and be today again
    remembered = [await world.ask(f"SELECT count(*) FROM tally.claim_{slot}") for slot in range(CLAIM_TABLES)]
    assert sum(remembered) == 0
