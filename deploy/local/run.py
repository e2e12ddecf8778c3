"""make run: everything on this machine, with a demo product whose story is told as it happens, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from typing import NoReturn

from deploy.local.demo.asking import Asking
from deploy.local.demo.narrator import Narrator
from deploy.local.demo.progress import Phase, Progress
from deploy.local.demo.world import STORY
from deploy.local.home import Home
from deploy.local.installation import Installation, installed
from deploy.local.settings import LocalSettings
from deploy.local.terminal import Terminal
from libs.common.clock import DeclaredClock, wall_now

LOOK_SECONDS = 0.3
PROGRESS_SECONDS = 0.25
REAL_TIME_LOOK_SECONDS = 2.0
ARRIVED = 120.0
"""Seconds behind real time within which the demo's clock counts as arrived."""


async def run(settings: LocalSettings) -> int:
    """Until cancelled. Raises NotStarted with one sentence when something cannot run."""
    terminal = Terminal()
    home = Home(settings.home.expanduser().absolute())
    headline(terminal)
    async with installed(settings, home, terminal) as installation:
        watching = asyncio.create_task(installation.watch(), name="watch")
        living = asyncio.create_task(_live(installation, settings, terminal), name="live")
        try:
            await asyncio.wait([watching, living], return_when=asyncio.FIRST_COMPLETED)
            for task in (watching, living):
                if task.done():
                    task.result()
        finally:
            for task in (watching, living):
                task.cancel()
            await asyncio.gather(watching, living, return_exceptions=True)
            terminal.line("\n  stopping …")
    return 0


def headline(terminal: Terminal) -> None:
    terminal.line()
    terminal.line(f"  {terminal.colour('bold', 'Kizashi')} 兆し  the first sign that a customer is drifting, in time")
    terminal.line()


async def _live(installation: Installation, settings: LocalSettings, terminal: Terminal) -> None:
    async with aclosing(Asking(installation.urls, str(installation.keys["api_key"]))) as asking:
        if settings.demo:
            await _demo(installation, settings, asking, terminal)
        _addresses(installation, terminal)
        if await asking.is_observing():
            terminal.line(
                "  Nothing leaves the house: deliveries are in observe. `kizashi notify enable` changes that."
            )
        await asyncio.Event().wait()


async def _demo(installation: Installation, settings: LocalSettings, asking: Asking, terminal: Terminal) -> NoReturn:
    await start_the_story(installation, asking, terminal)
    clock = DeclaredClock(installation.home.clock_file)
    _addresses(installation, terminal)
    if installation.told_for_real and installation.is_new:
        terminal.line("  Your own Slack or mail server is set, so nothing leaves until `kizashi notify enable`.")
    if installation.is_new:
        terminal.line(f"  Now {STORY.days} days pass, a day every {settings.local_day_seconds:g} seconds.\n")
    else:
        terminal.line(f"  It goes on where it stood, on {clock.now():%a %d %b}.\n")
    narrator = Narrator(asking, clock, terminal)
    arrived = False
    while True:
        await narrator.look()
        if not arrived and (wall_now() - clock.now()).total_seconds() < ARRIVED:
            arrived = True
            terminal.line("\n  It is now, and from here on time is real. Where everybody stands:\n")
            await narrator.standings()
            terminal.line("\n  Ctrl-C stops everything; the next `make run` goes on from there.\n")
        await asyncio.sleep(REAL_TIME_LOOK_SECONDS if arrived else LOOK_SECONDS)


async def start_the_story(installation: Installation, asking: Asking, terminal: Terminal) -> None:
    """Until time runs. A demo leaves observe by itself, once, and only where everything ends in the inbox."""
    if not installation.is_new:
        return
    if not installation.told_for_real:
        await asking.enable_deliveries()
    with terminal.step("90 days of history, read and scored"):
        while (progress := Progress.read(installation.home.product_file)) and progress.phase is not Phase.LIVE:
            sent = f"{progress.events_sent:,} of {progress.history:,} events sent"
            terminal.progress(f"  … 90 days of history: {sent}" + await _read_so_far(asking))
            await asyncio.sleep(PROGRESS_SECONDS)


async def _read_so_far(asking: Asking) -> str:
    with contextlib.suppress(Exception):
        progress = await asking.progress()
        return f", {progress['usage_total']:,} counted, {progress['waiting']['dirty']:,} to score"
    return ""


def _addresses(installation: Installation, terminal: Terminal) -> None:
    terminal.line()
    for name, what in (
        ("inbox", "what was told, in Slack and by email"),
        ("health", "accounts, scores and why (/docs)"),
        ("playbook", "runs and timelines (/docs)"),
        ("notify", "deliveries and their mode (/docs)"),
        ("ingest", "where a Segment SDK points its host"),
    ):
        terminal.line(f"  {terminal.colour('cyan', installation.urls[name]):<24}  {name:<9} {what}")
    terminal.line(f"  keys and addresses for scripts: {installation.home.run_file}")
    terminal.line()
