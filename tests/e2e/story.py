"""The story of the demo under a real `make run`: what is done to it as it passes, and whether it came true."""

from __future__ import annotations

from io import StringIO

import httpx
import pytest

from deploy.local.demo.asking import Asking
from deploy.local.demo.evidence import gather_evidence
from deploy.local.demo.narrator import Narrator
from deploy.local.demo.progress import Progress
from deploy.local.demo.verdict import Sighting, judge
from deploy.local.demo.world import STORY, World
from deploy.local.terminal import Terminal
from libs.common.clock import DeclaredClock
from libs.common.testing import eventually
from tests.e2e.running import LocalRun

DAY_SECONDS = 1.5


class Watching:
    """Looks at the story while it passes, as the front's own narrator does."""

    def __init__(self, run: LocalRun, asking: Asking) -> None:
        self.clock = DeclaredClock(run.home.clock_file)
        self.sightings: list[Sighting] = []
        self.narrator = Narrator(asking, self.clock, Terminal(out=StringIO()))
        progress = Progress.read(run.home.product_file)
        assert progress is not None
        self.world = World(progress.begins)

    async def until_day(self, day: float, *, looking: bool = True) -> None:
        async def it_is_that_day() -> bool:
            if looking:
                self.sightings += await self.narrator.look()
            return self.clock.now() >= self.world.begins + STORY * day / STORY.days

        await eventually(it_is_that_day, within_seconds=90, what=f"day {day}")


async def stop_and_go_on(run: LocalRun, watching: Watching, api_key: str) -> None:
    run.stop()
    stood = watching.clock.now()
    run.start()
    assert (await run.ready())["api_key"] == api_key

    async def it_says_so() -> bool:
        return "goes on where it stood" in run.said_last_time()

    await eventually(it_says_so, what="it goes on where it stood")
    assert watching.clock.now() >= stood


async def kill_each_around_the_days_on_which_somebody_is_told(run: LocalRun, watching: Watching) -> None:
    killed = {}
    for day, name in ((17, "health"), (18.5, "playbook"), (19.5, "notify"), (21, "product"), (22, "ingest")):
        await watching.until_day(day)
        killed[name] = run.kill(name)
    for name, pid in killed.items():
        await run.comes_back(name, pid)


async def came_true(run: LocalRun, asking: Asking, watching: Watching, told_by_history: int, *, log: str) -> None:
    """Fails with everything that is wrong."""
    problems: list[str] = []

    async def it_came_true() -> bool:
        progress = Progress.read(run.home.product_file)
        assert progress is not None
        evidence = await gather_evidence(
            asking,
            progress,
            sightings=watching.sightings,
            told_by_history=told_by_history,
            log=log,
        )
        problems[:] = judge(evidence).problems
        return not problems

    try:
        await eventually(it_came_true, within_seconds=30)
    except (AssertionError, httpx.HTTPError) as exc:
        pytest.fail("\n".join([repr(exc), *problems, run.said()]))
