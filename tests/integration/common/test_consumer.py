"""What the loop does with good records and with bad ones."""

from __future__ import annotations

from libs.common.event_log import Record
from libs.common.topics import PARTITIONS, Topic
from tests.integration.common.conftest import World
from tests.integration.common.tally import publish, tally, telemetry


async def test_every_event_of_every_partition_has_its_effect_once(world: World) -> None:
    await publish(world.log, [telemetry(n) for n in range(300)])
    await publish(world.log, [telemetry(n) for n in range(0, 300, 3)])  # a client that sends again
    await world.run_until_caught_up(tally(world.log, world.worker, batch_size=20))
    assert await world.times() == {f"message-{n}": 1 for n in range(300)}
    assert await world.ask("SELECT count(*) FROM tally.outbox") == 300
    assert await world.ask("SELECT count(DISTINCT partition) FROM tally.consumer_position") == PARTITIONS


async def test_the_one_bad_record_of_500_is_found_and_the_other_499_have_their_effect(world: World) -> None:
    events = [telemetry(n, event="raise" if n == 317 else "Report Opened") for n in range(500)]
    await publish(world.log, events, partition=4)
    await world.run_until_caught_up(tally(world.log, world.worker))
    assert await world.times() == {f"message-{n}": 1 for n in range(500) if n != 317}
    [letter] = await world.letters()
    assert (letter["partition"], letter["log_offset"], letter["reason"]) == (4, 317, "ZeroDivisionError")


async def test_a_record_that_does_not_decode_becomes_a_letter_with_its_bytes(world: World) -> None:
    garbage = b"\x00\xff not json \xed\xa0\x80"
    await world.log.append(Topic.TELEMETRY, [Record(b"no workspace", garbage, {"trace": b"\x00\xff"})], 0)
    await publish(world.log, [telemetry(1)], partition=0)
    await world.run_until_caught_up(tally(world.log, world.worker))
    [letter] = await world.letters()
    assert (letter["value"], letter["key"], letter["reason"]) == (garbage, b"no workspace", "not_json")
    assert letter["workspace_id"] is None
    assert await world.times() == {"message-1": 1}
