"""Does the steps of runs when they are due. Several of these can work beside each other, in one process or many."""

from __future__ import annotations

import asyncio
from datetime import datetime
from time import monotonic

from libs.common import outbox
from libs.common.clock import Clock
from libs.common.db import AsyncConnection, Database, see_workspaces
from libs.common.errors import RetryLater
from libs.common.events import TouchCancelled
from libs.common.failpoints import failpoint
from libs.common.observability import REGISTRY, Counter, Gauge, get_logger
from libs.common.runtime import pause
from services.playbook.definitions import TouchTiers
from services.playbook.domain import timeline
from services.playbook.domain.steps import Progress, advance
from services.playbook.store.accounts import take_account
from services.playbook.store.keys import key_of
from services.playbook.store.runs import DueStep, claim_due_step, insert_runs, save_runs, take_open_run
from services.playbook.store.timeline import add_entries
from services.playbook.store.touches import cancel_unsent, insert_touches

logger = get_logger(__name__)

POLL_SECONDS = 0.1
BUSY_SECONDS = 0.2
"""For a run about which a decision is being made just now."""
BROKEN_SECONDS = 60.0
"""For a run whose step fails although the world is fine: it must not keep the others waiting."""
PROGRESS_SECONDS = 60.0

_touches = Counter("kizashi_playbook_touches_total", "Touches requested", ["channel"], registry=REGISTRY)
_steps = Counter("kizashi_playbook_steps_total", "Due steps by outcome", ["outcome"], registry=REGISTRY)
_late = Gauge("kizashi_playbook_step_late_seconds", "Domain time since the step in hand was due", registry=REGISTRY)


class StepWorker:
    """A step is done in one transaction: the touch, its place on the timeline, its event in the outbox and the run's
    next step, or the run that takes its place, are stored together or not at all, so that a crash anywhere repeats
    nothing and leaves nothing out."""

    def __init__(self, database: Database, tiers: TouchTiers, clock: Clock) -> None:
        self._database = database
        self._tiers = tiers
        self._clock = clock
        self._held_back: dict[str, float] = {}
        self._ticked_at = monotonic()

    async def live(self) -> str | None:
        """A liveness check: the loop turned within the last minute."""
        idle = monotonic() - self._ticked_at
        return f"the step worker has not turned for {idle:.0f} s" if idle > PROGRESS_SECONDS else None

    async def run(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set; the step in hand is finished first. A lost database is waited for."""
        while not stopping.is_set():
            self._ticked_at = monotonic()
            try:
                if not await self.do_one_step():
                    await pause(stopping, POLL_SECONDS)
            except RetryLater as exc:
                logger.warning("steps_wait", detail=str(exc))
                await pause(stopping, 0.5)

    async def do_one_step(self) -> bool:
        """Do what is due of one run. False when nothing is. Raises RetryLater; anything else that fails is logged,
        and that run is held back."""
        now = monotonic()
        self._held_back = {run_id: until for run_id, until in self._held_back.items() if until > now}
        as_of = self._clock.now()
        due: DueStep | None = None
        try:
            async with self._database.transaction() as connection:
                due = await claim_due_step(connection, as_of, list(self._held_back))
                if due is None:
                    return False
                await see_workspaces(connection, [due.workspace])
                run = await take_open_run(connection, due)
                account = await take_account(connection, key_of(run.finding)) if run else None
                if run is None or account is None:
                    self._hold_back(due, BUSY_SECONDS)
                    return True
                progress = advance(
                    run,
                    account.snapshot,
                    self._tiers,
                    as_of=as_of,
                    step_due_really_at=self._clock.wall_time_of(due.due_at),
                )
                await save_runs(connection, [progress.run])
                await insert_touches(connection, progress.touches)
                await add_entries(connection, _entries(progress, as_of))
                cancelled = await _hand_over(connection, progress, as_of)
                await outbox.add(connection, [*progress.touches, *cancelled])
                failpoint("playbook.step.before_commit")
        except RetryLater:
            raise
        except Exception as exc:
            if due is None:
                raise
            _steps.labels("failed").inc()
            logger.error("step_failed", run=due.run_id, workspace=due.workspace, exc_info=exc)
            self._hold_back(due, BROKEN_SECONDS)
            return True
        failpoint("playbook.step.after_commit")
        _steps.labels("done").inc()
        _late.set((as_of - due.due_at).total_seconds())
        for touch in progress.touches:
            _touches.labels(touch.channel.value).inc()
        return True

    def _hold_back(self, due: DueStep, seconds: float) -> None:
        self._held_back[due.run_id] = monotonic() + seconds


async def _hand_over(connection: AsyncConnection, progress: Progress, as_of: datetime) -> list[TouchCancelled]:
    """Store the run that goes on in the place of one that has ended, whose unsent touches are taken back."""
    if progress.ended is None or progress.successor is None:
        return []
    await insert_runs(connection, [progress.successor])
    cancelled = await cancel_unsent(connection, {progress.run.run_id: progress.ended})
    entries = [timeline.of_cancelled(event, as_of) for event in cancelled]
    await add_entries(connection, [timeline.of_started(progress.successor, as_of), *entries])
    return cancelled


def _entries(progress: Progress, as_of: datetime) -> list[timeline.Entry]:
    entries = [timeline.of_touch(touch) for touch in progress.touches]
    entries += [timeline.of_withheld(withheld, as_of) for withheld in progress.withheld]
    if progress.ended:
        entries.append(timeline.of_ended(progress.ended, as_of))
    return entries
