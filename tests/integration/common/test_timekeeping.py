"""``caught_up_to`` is never ahead of what has been processed, whoever processes it, and comes forward by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import asyncpg

from libs.common.clock import FixedClock, wall_now
from libs.common.event_log import Batch, TopicPartition
from libs.common.testing import eventually
from libs.common.topics import PARTITIONS, Topic, partition_of
from tests.integration.common.conftest import World
from tests.integration.common.scripted_log import ScriptedLog
from tests.integration.common.tally import publish, tally, telemetry

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@dataclass
class Witness:
    """Sends events, notes when each was accepted, and compares that with what the service says, again and again."""

    world: World
    accepted: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    looks: int = 0
    came_forward: int = 0

    async def send(self, events: int) -> None:
        first = len(self.accepted)
        sent = [telemetry(n) for n in range(first, first + events)]
        await publish(self.world.log, sent)
        now = wall_now()
        self.accepted |= {event.id: (partition_of(event.key), now) for event in sent}

    async def look(self, eye: asyncpg.Connection) -> None:
        """In one snapshot: every event that was accepted up to a partition's moment has had its effect."""
        accepted = dict(self.accepted)
        [row] = await eye.fetch(
            "SELECT (SELECT array_agg(event_id) FROM tally.effect) AS effects, "
            "(SELECT array_agg((partition, caught_up_to)) FROM tally.consumer_position) AS positions"
        )
        effects, moments = set(row["effects"] or ()), dict(row["positions"] or ())
        for event, (partition, at) in accepted.items():
            moment = moments.get(partition)
            assert moment is None or at > moment or event in effects, f"{event} of {at} is missing at {moment}"
        self.looks += 1
        self.came_forward += len({moment for moment in moments.values() if moment})

    async def watch(self, stopping: asyncio.Event) -> None:
        eye = await asyncpg.connect(self.world.owner_url)
        while not stopping.is_set():
            await self.look(eye)
        await eye.close()


async def test_it_is_never_ahead_while_partitions_change_hands(world: World) -> None:
    """A backlog, then constant traffic; a second process joins, the first one leaves, a third one comes."""
    witness = Witness(world)
    await witness.send(500)
    stopping = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(witness.watch(stopping))
        first, second = asyncio.Event(), asyncio.Event()
        for leaving in (first, second, stopping):
            consumer = tally(world.log, world.worker, timekeeping=True, batch_size=10)
            joined = group.create_task(consumer.run(leaving))
            for _ in range(8):
                await witness.send(40)
            if leaving is second:
                first.set()
            assert not joined.done()
        second.set()
        await world.until_caught_up()
        stopping.set()
    assert witness.looks > 10
    assert witness.came_forward > 0
    assert set(await world.times()) == set(witness.accepted)


class BusyLog(ScriptedLog):
    """While it says where it ends, an hour passes and more is accepted."""

    def __init__(self, clock: FixedClock) -> None:
        super().__init__([Batch(TopicPartition(Topic.TELEMETRY, 0), 0, 0, [])])
        self.clock = clock

    async def ends(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        ends = await super().ends(topics)
        self.clock.advance(timedelta(hours=1))
        return ends


async def test_what_is_accepted_while_the_log_is_asked_does_not_count(world: World) -> None:
    clock = FixedClock(NOON)
    async with world.running(tally(BusyLog(clock), world.worker, timekeeping=True, clock=clock)):
        for hours in (1, 2, 3):
            assert await comes_to(world, NOON + timedelta(hours=hours)) < clock.now()


async def comes_to(world: World, moment: datetime) -> datetime:
    """Waits until some partition has come to the moment; the answer is the latest that one has come to."""

    async def there() -> bool:
        return bool(await world.ask("SELECT max(caught_up_to) >= $1 FROM tally.consumer_position", moment))

    await eventually(there, what=f"{moment} has come")
    latest: datetime = await world.ask("SELECT max(caught_up_to) FROM tally.consumer_position")
    return latest


async def test_it_comes_forward_where_nothing_happens(world: World) -> None:
    clock = FixedClock(NOON)
    async with world.running(tally(world.log, world.worker, timekeeping=True, clock=clock)):
        await eventually(lambda: all_at(world, NOON), what="every partition is at noon")
        clock.advance(timedelta(days=3))
        await eventually(lambda: all_at(world, NOON + timedelta(days=3)), what="every partition is three days on")
    await publish(world.log, [telemetry(1)])
    clock.advance(timedelta(days=10))
    assert await all_at(world, NOON + timedelta(days=3)), "nobody was there for ten days"


async def test_a_partition_that_is_stopped_stays_where_it_was(world: World) -> None:
    clock = FixedClock(NOON)
    async with world.running(tally(world.log, world.worker, timekeeping=True, clock=clock)):
        await eventually(lambda: all_at(world, NOON), what="every partition is at noon")
        await publish(world.log, [telemetry(n, event="raise") for n in range(60)], 4)
        await world.until_passed(4, 25)
        clock.advance(timedelta(hours=1))

        async def the_others_went_on() -> bool:
            on: int = await world.ask("SELECT count(*) FROM tally.consumer_position WHERE caught_up_to > $1", NOON)
            return on == PARTITIONS - 1

        await eventually(the_others_went_on, what="all others are an hour on")
    left = await world.ask("SELECT caught_up_to FROM tally.consumer_position WHERE partition = 4")
    assert left == NOON


async def test_it_never_goes_back(world: World) -> None:
    """A process whose clock is behind takes over."""
    async with world.running(tally(world.log, world.worker, timekeeping=True, clock=FixedClock(NOON))):
        await eventually(lambda: all_at(world, NOON), what="every partition is at noon")
    earlier = FixedClock(NOON - timedelta(hours=1))
    late = tally(world.log, world.worker, timekeeping=True, clock=earlier)
    async with world.running(late):
        await publish(world.log, [telemetry(n) for n in range(50)])
        await world.until_caught_up()
        earlier.advance(timedelta(hours=2))
        await eventually(lambda: all_at(world, NOON + timedelta(hours=1)), what="its clock is ahead now")


async def all_at(world: World, moment: datetime) -> bool:
    """Whether every partition has come to exactly this moment; at no time to an earlier one."""
    found = await world.owner.fetch("SELECT topic, partition, caught_up_to FROM tally.consumer_position")
    at = {TopicPartition(Topic(row["topic"]), row["partition"]): row["caught_up_to"] for row in found}
    return len(at) == PARTITIONS and set(at.values()) == {moment}
