"""Real processes, killed and frozen at the worst moments: every effect happens once, here and downstream."""

from __future__ import annotations

import dataclasses
import signal
from time import monotonic

import pytest

from libs.common.testing import eventually
from tests.integration.common.conftest import World
from tests.integration.common.member import Member, alive, ended, frozen, thaw
from tests.integration.common.tally import publish, telemetry

FAILPOINTS = [
    "consumer.before_transaction",
    "consumer.inside_handler",
    "consumer.before_commit",
    "consumer.after_commit",
    "outbox.published",
    "outbox.deleted",
]


def once(events: int) -> dict[str, int]:
    return {f"message-{n}": 1 for n in range(events)}


async def everything_is_through(world: World) -> bool:
    return (
        await world.caught_up("tally", "telemetry")
        and await world.ask("SELECT count(*) = 0 FROM tally.outbox")
        and await world.caught_up("echo", "touches")
    )


async def until_through(world: World, within_seconds: float = 30) -> None:
    await eventually(
        lambda: everything_is_through(world), within_seconds=within_seconds, what="everything is read and passed on"
    )


async def assert_once(world: World, events: int) -> None:
    assert await world.times("tally") == once(events)
    assert await world.times("echo") == once(events)
    assert await world.letters() == []


async def written(world: World, topic: str) -> int:
    count: int = await world.ask("SELECT sum(next) FROM log.topic_partition WHERE topic = $1", topic)
    return count


@pytest.mark.parametrize("point", FAILPOINTS)
async def test_killed_at_a_named_place_and_started_again(world: World, point: str) -> None:
    await publish(world.log, [telemetry(n) for n in range(300)])
    async with alive(Member(world.url, failpoints=f"{point}:3")) as process:
        assert await ended(process) == -signal.SIGKILL
    assert not await everything_is_through(world)
    async with alive(Member(world.url)) as process:
        await until_through(world)
        process.terminate()
        assert await ended(process) == 0
    await assert_once(world, 300)
    if point == "outbox.published":
        assert await written(world, "touches") > 300, "what was published before the crash is published again"


async def test_killed_again_and_again_while_events_arrive(world: World) -> None:
    events = 0
    for round_ in range(6):
        await publish(world.log, [telemetry(n) for n in range(events, events + 100)])
        events += 100
        async with alive(Member(world.url, batch_size=5)):
            goal = 60 * (round_ + 1)

            async def enough(goal: int = goal) -> bool:
                return bool(await world.ask("SELECT count(*) >= $1 FROM tally.effect", goal))

            await eventually(enough, within_seconds=20, what=f"{goal} effects")
    async with alive(Member(world.url)):
        await until_through(world)
    await assert_once(world, events)


async def test_two_processes_share_the_work(world: World) -> None:
    async def workers() -> int:
        found: int = await world.ask("SELECT count(DISTINCT note->>'by') FROM tally.effect")
        return found

    events = 0
    async with alive(Member(world.url)), alive(Member(world.url)):
        while await workers() < 2:
            assert events < 100_000, "one of them does nothing"
            await publish(world.log, [telemetry(n) for n in range(events, events + 200)])
            events += 200
            await until_through(world)
    await assert_once(world, events)


# --- zombies ---


@pytest.mark.parametrize("place", ["before the transaction", "inside the handler"])
@pytest.mark.parametrize(
    ("compare_and_set", "claims"),
    [(True, True), (True, False), (False, True)],
    ids=["", "the compare-and-set alone", "the claims alone"],
)
async def test_frozen_overtaken_and_woken(world: World, place: str, compare_and_set: bool, claims: bool) -> None:
    """The zombie holds a batch that somebody else has processed meanwhile; then it has to do all the work again."""
    guarded = Member(world.url, compare_and_set=compare_and_set, claims=claims)
    await publish(world.log, [telemetry(n) for n in range(100)])
    async with alive(dataclasses.replace(guarded, freeze=place)) as zombie:
        await publish(world.log, [telemetry(100, event="freeze")])
        await frozen(zombie)
        started = monotonic()
        async with alive(guarded):
            await until_through(world)
            # Three seconds as a rule; ten when it froze in the middle of a statement.
            assert monotonic() - started < 15, "somebody else takes over"
            thaw(zombie)
            await publish(world.log, [telemetry(n) for n in range(101, 200)])
            await until_through(world)
        assert zombie.exitcode is None
        await publish(world.log, [telemetry(n) for n in range(200, 300)])
        await until_through(world)
    await assert_once(world, 300)


async def test_without_the_guards_the_same_story_doubles_effects(world: World) -> None:
    """The negative control: a test that cannot see a doubled effect would prove nothing."""
    careless = Member(world.url, claims=False, compare_and_set=False)
    await publish(world.log, [telemetry(n) for n in range(100)])
    async with alive(dataclasses.replace(careless, freeze="before the transaction")) as zombie:
        await publish(world.log, [telemetry(100, event="freeze")])
        await frozen(zombie)
        async with alive(careless):
            await until_through(world)
            thaw(zombie)

            async def doubled() -> bool:
                return bool(await world.ask("SELECT max(times) > 1 FROM tally.effect"))

            await eventually(doubled, within_seconds=10, what="an effect is doubled")
