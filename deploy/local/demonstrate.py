"""make demo: the same story in a home of its own, bounded, and judged. Succeeds only if the story came true."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path

from deploy.local.demo.asking import Asking
from deploy.local.demo.evidence import gather_evidence, told_so_far
from deploy.local.demo.narrator import Narrator
from deploy.local.demo.progress import Progress
from deploy.local.demo.verdict import Sighting, Verdict, judge
from deploy.local.demo.world import STORY, World
from deploy.local.home import Home
from deploy.local.installation import Installation, installed
from deploy.local.run import LOOK_SECONDS, headline, start_the_story
from deploy.local.settings import PROCESSES, LocalSettings
from deploy.local.terminal import Terminal
from libs.common.clock import DeclaredClock
from libs.common.testing import eventually

SETTLE_SECONDS = 20.0
DAY_SECONDS = 1.5
"""Somewhat faster than make run, so that everything together stays within 90 seconds."""
KEPT_VARIABLES = (
    "KIZASHI_LOCAL_END_WEEKDAY",
    "KIZASHI_LOCAL_KAFKA_JARS",
    "KIZASHI_CONFIG_DIR",
    "KIZASHI_LOGGING_LEVEL",
)


def forget_the_surroundings() -> None:
    """A demo never reaches anybody's real Slack, mail server, broker or home."""
    for name in list(os.environ):
        if name == "DEMO" or (name.startswith("KIZASHI_") and name not in KEPT_VARIABLES):
            del os.environ[name]


async def demonstrate(settings: LocalSettings) -> int:
    """The exit status: 0 if the story came true. The last line printed is the verdict's summary as JSON."""
    terminal = Terminal()
    headline(terminal)
    home = Home(_new_folder())
    went_wrong = False
    try:
        verdict = await _rehearse(_settings(settings, home.path), home, terminal)
        went_wrong = bool(verdict.problems)
    except Exception:  # not when somebody has seen enough
        went_wrong = True
        raise
    finally:
        _clear_away(home, keep_logs=went_wrong)
    terminal.line()
    for problem in verdict.problems:
        terminal.line(f"  {terminal.colour('red', '✗')} {problem}")
    if not went_wrong:
        terminal.line(f"  {terminal.colour('green', '✓')} the story came true")
    else:
        terminal.line(f"  What the services logged is in {home.logs}")
    terminal.line()
    terminal.line(json.dumps(verdict.summary))
    return 1 if went_wrong else 0


def _new_folder() -> Path:
    """Others may pass through: as root, PostgreSQL runs as a user of its own."""
    folder = Path(tempfile.mkdtemp(prefix="kizashi-demo-"))
    folder.chmod(0o755)
    return folder


def _clear_away(home: Home, *, keep_logs: bool) -> None:
    """A sentence about why the story did not come true may name a log."""
    for path in home.path.iterdir():
        if path.is_dir() and not (keep_logs and path == home.logs):
            shutil.rmtree(path, ignore_errors=True)
        elif not path.is_dir():
            path.unlink(missing_ok=True)
    if not keep_logs:
        shutil.rmtree(home.path, ignore_errors=True)


def _settings(settings: LocalSettings, folder: Path) -> LocalSettings:
    with ExitStack() as taken:
        sockets = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PROCESSES]
        ports = {f"local_{name}_port": one.getsockname()[1] for name, one in zip(PROCESSES, sockets, strict=True)}
    return settings.model_copy(update={"home": folder, "local_day_seconds": DAY_SECONDS, **ports})


async def _rehearse(settings: LocalSettings, home: Home, terminal: Terminal) -> Verdict:
    async with installed(settings, home, terminal) as installation:
        watching = asyncio.create_task(installation.watch(), name="watch")
        asking = Asking(installation.urls, str(installation.keys["api_key"]))
        judging = asyncio.create_task(_watch_the_story(installation, asking, terminal), name="story")
        try:
            await asyncio.wait([watching, judging], return_when=asyncio.FIRST_COMPLETED)
            return judging.result() if judging.done() else watching.result()
        finally:
            for task in (watching, judging):
                task.cancel()
            await asyncio.gather(watching, judging, return_exceptions=True)
            await asking.aclose()


async def _watch_the_story(installation: Installation, asking: Asking, terminal: Terminal) -> Verdict:
    await start_the_story(installation, asking, terminal)
    told_by_history = await told_so_far(asking)
    clock = DeclaredClock(installation.home.clock_file)
    world = World(_progress(installation).begins)
    narrator = Narrator(asking, clock, terminal)
    terminal.line()
    sightings: list[Sighting] = []
    while clock.now() < world.begins + STORY:
        sightings += await narrator.look()
        await asyncio.sleep(LOOK_SECONDS)
    await installation.stop_product()
    with terminal.step("everything sent is counted, nothing waits"):
        await _settle(installation, asking)
    await narrator.look()
    return judge(
        await gather_evidence(
            asking,
            _progress(installation),
            sightings=sightings,
            told_by_history=told_by_history,
            log=installation.settings.log or "postgres",
        )
    )


def _progress(installation: Installation) -> Progress:
    progress = Progress.read(installation.home.product_file)
    assert progress is not None
    return progress


async def _settle(installation: Installation, asking: Asking) -> None:
    """Until everything sent is counted and nothing waits to be scored or told; the verdict says what is missing."""

    async def settled() -> bool:
        progress, deliveries = await asyncio.gather(asking.progress(), asking.deliveries())
        quiet = not any(progress["waiting"].values()) and all(told.settled for told in deliveries)
        return quiet and progress["usage_total"] >= _progress(installation).events_sent

    try:
        await eventually(settled, within_seconds=SETTLE_SECONDS)
    except AssertionError:
        return
