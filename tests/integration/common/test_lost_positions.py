"""A position that the log does not hold stops its partition, wherever it is read, until an operator moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from libs.common.clock import FixedClock
from libs.common.consumer import Consumer
from libs.common.observability import REGISTRY
from libs.common.testing import eventually
from libs.common.topics import PARTITIONS
from tests.integration.common.conftest import World
from tests.integration.common.tally import QUICK, publish, tally, telemetry

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"kizashi_consumer_{name}", {"group": "tally", **labels}) or 0.0


@pytest.fixture
async def reader(world: World) -> Consumer:
    """Of partition 4 it has read one record, and believes that it has read 99."""
    await publish(world.log, [telemetry(1)], 4)
    await world.run_until_caught_up(tally(world.log, world.worker))
    await world.owner.execute("UPDATE tally.consumer_position SET next = 99 WHERE partition = 4")
    return tally(world.log, world.worker, patience=QUICK)


async def is_stopped(consumer: Consumer) -> bool:
    return "telemetry/4 cannot be read from position 99" in (await consumer.ready() or "")


async def test_lost_records_stop_their_partition_and_no_other(world: World, reader: Consumer) -> None:
    times_before = metric("position_lost_total")
    async with world.running(reader):
        await eventually(lambda: is_stopped(reader), what="partition 4 is stopped")
        for n in range(5):  # many looks, and work beside them
            await publish(world.log, [telemetry(n + 10)], 5)
            await world.until_passed(5, n + 1)
        assert await reader.live() is None
        problem = await reader.ready() or ""
        assert metric("stopped_partitions", topic="telemetry", cause="lost") == 1
    assert "`kizashi log skip tally telemetry 4 --to earliest`" in problem
    assert metric("position_lost_total") == times_before + 1, "it is told once, not with every look"
    assert await world.position(4) == 99


async def test_it_stays_stopped_over_a_restart_though_the_log_grows_past_the_position(
    world: World, reader: Consumer
) -> None:
    """A log that lost its end and is written again would else be read on in its middle, and nobody would know."""
    async with world.running(reader):
        await eventually(lambda: is_stopped(reader), what="partition 4 is stopped")
    await publish(world.log, [telemetry(n) for n in range(100, 300)], 4)
    again = tally(world.log, world.worker, patience=QUICK)
    async with world.running(again):
        await publish(world.log, [telemetry(1000)], 5)
        await world.until_passed(5, 1)
        await eventually(lambda: is_stopped(again), what="partition 4 is still stopped")
    assert await world.position(4) == 99
    assert set(await world.times()) == {"message-1", "message-1000"}


async def test_time_waits_for_a_partition_whose_records_are_lost(world: World, reader: Consumer) -> None:
    clock = FixedClock(NOON)
    keeping = tally(world.log, world.worker, patience=QUICK, timekeeping=True, clock=clock)
    async with world.running(keeping):
        for hours in range(3):
            clock.at = NOON + timedelta(hours=hours)

            async def the_others_come_forward() -> bool:
                on: int = await world.ask(
                    "SELECT count(*) FROM tally.consumer_position WHERE caught_up_to = $1", clock.at
                )
                return on == PARTITIONS - 1

            await eventually(the_others_come_forward, what="eleven partitions come forward")
    assert await world.ask("SELECT caught_up_to FROM tally.consumer_position WHERE partition = 4") is None


async def test_a_position_that_an_operator_moves_is_read_from_there(world: World, reader: Consumer) -> None:
    async with world.running(reader):
        await eventually(lambda: is_stopped(reader), what="partition 4 is stopped")
        await publish(world.log, [telemetry(2)], 4)
        await world.owner.execute("UPDATE tally.consumer_position SET next = 0, lost = NULL WHERE partition = 4")
        await world.until_caught_up()

        async def is_ready() -> bool:
            return await reader.ready() is None

        await eventually(is_ready, what="ready again")
    assert await world.times() == {"message-1": 1, "message-2": 1}
    assert metric("stopped_partitions", topic="telemetry", cause="lost") == 0


async def test_a_position_that_is_moved_while_nothing_happens_is_noticed(world: World) -> None:
    """What is moved back is read again, and its claims absorb it."""
    await publish(world.log, [telemetry(n) for n in range(20)], 4)
    consumer = tally(world.log, world.worker, patience=QUICK)
    async with world.running(consumer):
        await world.until_caught_up()
        await world.owner.execute("UPDATE tally.consumer_position SET next = 5 WHERE partition = 4")
        await world.until_caught_up()
    assert await world.times() == {f"message-{n}": 1 for n in range(20)}


async def test_who_looks_from_an_old_position_goes_on_from_the_new_one(world: World) -> None:
    """As one does that woke up: others have read on meanwhile, and retention has dropped what they read."""
    await publish(world.log, [telemetry(n) for n in range(10)], 4)
    consumer = tally(world.log, world.worker)
    async with world.running(consumer):
        await world.until_caught_up()
        async with world.owner.transaction():
            await world.owner.execute("UPDATE tally.consumer_position SET next = 12 WHERE partition = 4")
            await world.owner.execute(
                "UPDATE log.topic_partition SET earliest = 12, next = 12 WHERE topic = 'telemetry' AND partition = 4"
            )
        await publish(world.log, [telemetry(10)], 4)
        await world.until_passed(4, 13)
        assert await consumer.ready() is None
    assert set(await world.times()) == {f"message-{n}" for n in range(11)}
