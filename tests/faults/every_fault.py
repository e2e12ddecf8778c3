"""What the town must survive on every engine. After each: every accepted event applied once, every touch told once, and
nothing stuck for longer than 30 s after the dependency came back.

The modules ``test_on_…`` run these, each in one town.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from time import monotonic

import httpx
import pytest

from libs.common.testing import eventually
from tests.faults.checker import check
from tests.faults.conftest import Tell
from tests.faults.dependencies import Dependency, freeze, is_at_work, thaw
from tests.faults.running import Run, under_load
from tests.faults.schedule import (
    MEMBERS,
    POINTS,
    FreezeAt,
    KillAt,
    KillDatabase,
    RestartBoth,
    schedule,
)
from tests.faults.town import CALL_SECONDS, LEASE_SECONDS, MARGIN_SECONDS, Town

CONSUMERS = ("health", "playbook", "notify")
PAST_ITS_SESSION_SECONDS = 6.0
"""Sessions end after three; ten when it froze in the middle of a statement, which a failpoint is not."""
PAST_ITS_LEASE_SECONDS = LEASE_SECONDS + CALL_SECONDS + MARGIN_SECONDS + 3.0
STOP_SECONDS = 20.0
FROZEN_SECONDS = 20.0
RED_WITHIN_SECONDS = 60.0
GREEN_WITHIN_SECONDS = 30.0
COMES_THERE_SECONDS = 40.0
"""For a process that is up to come to its failpoint, on a busy machine."""
SEEDS = range(1, 6)
POINTS_TO_DIE_AT: Mapping[str, Sequence[str]] = {"ingest": ["ingest.appended"], **POINTS}
MANY_STORIES = {"high": 20, "pool": 20, "mail": 160}


def assert_all_is_well(run: Run, tell: Tell, what: str) -> None:
    findings = check(run.history)
    assert findings == [], "\n".join(["", *map(str, findings[:20]), f"logs are in {run.town.logs}"])
    tell(what, run)


class EveryFault:
    # --- sharing ---

    async def test_two_of_each_share_the_work(self, town: Town, tell: Tell) -> None:
        async with under_load(town) as run:
            pass
        assert_all_is_well(run, tell, "none: two of each share the work")
        for service in CONSUMERS:
            applied = [await records_applied(town, f"{service}-{member}") for member in range(2)]
            assert all(applied), f"one {service} does nothing: {applied}"

    async def test_when_one_of_each_is_killed_the_other_does_all_the_work(self, town: Town, tell: Tell) -> None:
        killed = [process for name, process in town.processes.items() if name.endswith("-1")]
        async with under_load(town) as run:
            await asyncio.gather(*(process.end() for process in killed))
        await asyncio.gather(*(process.start() for process in killed))
        assert_all_is_well(run, tell, "kill -9 of one of each, for good")

    async def test_services_are_replaced_under_load(self, town: Town, tell: Tell) -> None:
        async with under_load(town) as run:
            for service in ("ingest", *CONSUMERS):
                await run.strike(RestartBoth(at=0, service=service))
        assert_all_is_well(run, tell, "SIGTERM of both of each service")

    # --- kill -9 ---

    async def test_killed_at_every_named_point(self, town: Town, tell: Tell) -> None:
        """The services side by side; of each one point after the other, its two processes in turn."""

        async def each_in_turn(run: Run, service: str, points: Sequence[str]) -> None:
            for n, point in enumerate(points):
                fault = KillAt(
                    at=0, service=service, member=n % MEMBERS, point=point, nth=1, within_seconds=COMES_THERE_SECONDS
                )
                assert await run.strike(fault), f"{service} never came to {point}"

        async with under_load(town, stories=MANY_STORIES, tell_every_seconds=1.0) as run, asyncio.TaskGroup() as group:
            for service, points in POINTS_TO_DIE_AT.items():
                group.create_task(each_in_turn(run, service, points))
        struck = sum(map(len, POINTS_TO_DIE_AT.values()))
        assert_all_is_well(run, tell, f"kill -9 at each of {struck} named points, services side by side")

    # --- zombies ---

    async def test_frozen_inside_a_transaction_past_its_session_and_back(self, town: Town, tell: Tell) -> None:
        """The services side by side, each first inside a handler and then before its commit."""

        async def at_each(run: Run, service: str) -> None:
            for point in ("consumer.inside_handler", "consumer.before_commit"):
                fault = FreezeAt(
                    at=0,
                    service=service,
                    member=0,
                    point=point,
                    nth=2,
                    seconds=PAST_ITS_SESSION_SECONDS,
                    within_seconds=COMES_THERE_SECONDS,
                )
                assert await run.strike(fault), f"{service} never came to {point}"

        async with under_load(town, stories=MANY_STORIES, tell_every_seconds=1.0) as run:
            since = monotonic()
            async with asyncio.TaskGroup() as group:
                for service in CONSUMERS:
                    group.create_task(at_each(run, service))
        assert_all_is_well(run, tell, "SIGSTOP in a handler and before a commit, past the session, and back")
        assert town.unplanned_starts(since) == {}, "who wakes up goes on"

    @pytest.mark.parametrize("stories", [{"high": 12, "pool": 12}, {"mail": 30}], ids=["slack", "mail"])
    async def test_notify_frozen_before_its_lease_check_and_back(
        self, town: Town, tell: Tell, stories: dict[str, int]
    ) -> None:
        fault = FreezeAt(
            at=0,
            service="notify",
            member=0,
            point="notify.connected",
            nth=2,
            seconds=PAST_ITS_LEASE_SECONDS,
            within_seconds=COMES_THERE_SECONDS,
        )
        said = town.processes["notify-0"].said().count("lease_ran_out")
        async with under_load(town, stories=stories) as run:
            assert await run.strike(fault), "notify sent nothing"

            async def keeps_silent() -> bool:
                return town.processes["notify-0"].said().count("lease_ran_out") > said

            await eventually(keeps_silent, within_seconds=10, what="who wakes up sees that its lease ran out")
        assert_all_is_well(run, tell, f"SIGSTOP of notify before its lease check ({', '.join(stories)}), and back")

    # --- dependencies ---

    async def test_postgresql_killed_and_started(self, town: Town, tell: Tell) -> None:
        async with under_load(town) as run:
            since = monotonic()
            await run.strike(KillDatabase(at=0, seconds=2))
            await town.until_ready(GREEN_WITHIN_SECONDS)
        assert_all_is_well(run, tell, "PostgreSQL killed, started after 2 s")
        assert town.unplanned_starts(since) == {}, "nobody dies of it"

    async def test_postgresql_stands_still_and_goes_on(self, town: Town, tell: Tell) -> None:
        await stands_still_and_goes_on(town, tell, town.postgres, "PostgreSQL")

    @pytest.mark.parametrize("how", ["killed", "frozen"])
    async def test_told_to_stop_while_nothing_answers(self, town: Town, tell: Tell, how: str) -> None:
        async with under_load(town) as run:
            at = run.recorder.now()
            for dependency in town.dependencies:
                await (dependency.kill() if how == "killed" else freeze(dependency))
                assert not is_at_work(dependency)
            try:
                asked = monotonic()
                statuses = await asyncio.gather(*(process.stop(STOP_SECONDS) for process in town.processes.values()))
                stopped_after = monotonic() - asked
            finally:
                for dependency in town.dependencies:
                    if how == "killed":
                        await dependency.start()
                    else:
                        thaw(dependency)
            assert set(statuses) == {0}, dict(zip(town.processes, statuses, strict=True))
            await town.start_services()
            run.recorder.note_fault(f"SIGTERM to all, dependencies {how}", at, run.recorder.now())
        assert_all_is_well(run, tell, f"SIGTERM to all, dependencies {how} (stopped in {stopped_after:.0f} s)")

    # --- anything ---

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_any_schedule(self, town: Town, tell: Tell, seed: int) -> None:
        """``make faults SEED=… COUNT=1`` repeats it."""
        faults = schedule(seed, town.engine)
        async with under_load(town, seed=seed) as run:
            await run.strike_all(faults)
        met = len(faults) - len(run.missed)
        assert_all_is_well(run, tell, f"schedule {seed} ({met} of {len(faults)} faults met)")
        assert met, "nothing met any of it"


async def stands_still_and_goes_on(town: Town, tell: Tell, dependency: Dependency, name: str) -> None:
    """Readiness turns red, and green again when it goes on; liveness stays green, and nobody is started anew."""
    async with under_load(town) as run:
        since, at = monotonic(), run.recorder.now()
        red: dict[str, float] = {}

        async def all_consumers_are_red() -> bool:
            for process in await town.problems():
                red.setdefault(process, monotonic() - since)
            assert await town.problems("livez") == {}, "liveness looks at no dependency"
            return all(f"{service}-{member}" in red for service in CONSUMERS for member in range(MEMBERS))

        await freeze(dependency)
        try:
            await asyncio.gather(
                eventually(all_consumers_are_red, within_seconds=RED_WITHIN_SECONDS, what="every consumer is red"),
                asyncio.sleep(FROZEN_SECONDS),
            )
            frozen_for = monotonic() - since
        finally:
            thaw(dependency)
        run.recorder.note_fault(f"{name} frozen", at, run.recorder.now())
        green_after = await town.until_ready(GREEN_WITHIN_SECONDS)
        assert await town.problems("livez") == {}
    words = f"red after {max(red.values()):.0f} s, green {green_after:.0f} s after"
    assert_all_is_well(run, tell, f"{name} frozen {frozen_for:.0f} s, continued ({words})")
    assert [name for name, process in town.processes.items() if process.starts[-1].at > since] == []


async def records_applied(town: Town, process: str) -> float:
    """How many records this process has applied since it was started."""
    async with httpx.AsyncClient(timeout=5) as http:
        text = (await http.get(f"{town.url(process)}/metrics")).text
    counts = [
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("kizashi_consumer_records_total") and 'outcome="applied"' in line
    ]
    return sum(counts)
