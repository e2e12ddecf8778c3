"""Works one channel of the ledger: claims a delivery, commits that it is being sent, sends it, has the outcome written.

Several processes may do so beside each other. Whatever one of them was doing when it died is found by the others when
its lease has run out.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

from libs.common.clock import Clock
from libs.common.db import AsyncConnection, Database
from libs.common.errors import RetryLater
from libs.common.events import Channel
from libs.common.failpoints import failpoint
from libs.common.observability import REGISTRY, Counter, get_logger
from libs.common.runtime import pause
from services.notify.books import Books
from services.notify.domain.decisions import LookUp, LoseSight, NextStep, Send, next_step
from services.notify.domain.delivery import Delivery, Waiting
from services.notify.domain.outcomes import Deferred, Finding, Lost, Outcome, Refused
from services.notify.lease import Lease, LeaseRanOut
from services.notify.store import ledger, policy
from services.notify.store.ledger import Due
from services.notify.templates import CannotRender
from services.notify.transport import Transport

logger = get_logger(__name__)

POLL_SECONDS = 0.2
UNDER_WAY_MOST = 8
"""Calls of one channel at a time, so that a target that hangs does not hold up the others."""
PROGRESS_SECONDS = 60.0

_attempts = Counter("kizashi_notify_attempts_total", "Calls by outcome", ["channel", "outcome"], registry=REGISTRY)


@dataclass(frozen=True)
class Timing:
    """``lease``: from the claim to the last moment at which a call may begin. ``grace``: how long after that it may
    still be under way. ``margin``: how long a provider may go on working on a call that we have given up."""

    lease: timedelta
    grace: timedelta
    margin: timedelta


@dataclass(frozen=True)
class _Sending:
    delivery: Delivery
    lease: Lease


@dataclass(frozen=True)
class _LookingUp:
    delivery: Delivery
    place: str | None


class _Done:
    """The delivery was dealt with inside its transaction."""


class Sender:
    """One channel's worker task. ``luck`` gives random numbers from 0 up to 1 for the jitter of retries."""

    def __init__(
        self,
        *,
        channel: Channel,
        transport: Transport,
        database: Database,
        clock: Clock,
        timing: Timing,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._channel = channel
        self._transport = transport
        self._database = database
        self._clock = clock
        self._timing = timing
        self._books = Books(
            channel=channel,
            database=database,
            clock=clock,
            spacing=timedelta(seconds=transport.spacing_seconds),
            margin=timing.margin,
            luck=luck,
        )
        self._ticked_at = monotonic()

    async def live(self) -> str | None:
        """A liveness check: the loop turned within the last minute."""
        idle = monotonic() - self._ticked_at
        return f"the {self._channel} sender has not turned for {idle:.0f} s" if idle > PROGRESS_SECONDS else None

    async def run(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set; calls under way are finished first. A lost database is waited for."""
        under_way: set[asyncio.Task[None]] = set()
        while not stopping.is_set():
            self._ticked_at = monotonic()
            under_way = {task for task in under_way if not task.done()}
            if len(under_way) >= UNDER_WAY_MOST:
                await asyncio.wait(under_way, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                continue
            try:
                work = await self._take()
            except RetryLater as exc:
                logger.warning("sender_waits", channel=self._channel, detail=str(exc))
                await pause(stopping, 0.5)
                continue
            if work is None:
                await pause(stopping, POLL_SECONDS)
            elif not isinstance(work, _Done):
                under_way.add(asyncio.create_task(self._do(work), name=f"{self._channel} {work.delivery.id}"))
        if under_way:
            await asyncio.wait(under_way)

    async def _take(self) -> _Sending | _LookingUp | _Done | None:
        """Claim what is due and commit what is done about it. None when nothing is due."""
        lease = Lease(self._timing.lease.total_seconds())
        async with self._database.transaction() as connection:
            due = await ledger.next_due(connection, self._channel)
            if due is None:
                return None
            step = next_step(
                due.delivery,
                await policy.rules_for(connection, due.delivery, due.now),
                self._transport.settling,
                now=due.now,
                as_of=self._clock.now(),
                grace=self._timing.grace,
            )
            work = await self._begin(connection, due, step, lease)
            failpoint("notify.before_sending_commit")
        if isinstance(work, _Sending):
            failpoint("notify.sending_committed")
        return work

    async def _begin(
        self, connection: AsyncConnection, due: Due, step: NextStep, lease: Lease
    ) -> _Sending | _LookingUp | _Done:
        match step:
            case Send(doubtful):
                return _Sending(await self._books.begin_sending(connection, due, doubtful, self._timing.lease), lease)
            case LookUp():
                # Should we die over it, somebody else asks again then.
                await ledger.reschedule(connection, due.delivery, due.now + self._timing.grace, Waiting.OUTCOME)
                return _LookingUp(due.delivery, due.place)
            case LoseSight(until):
                logger.warning("outcome_unknown", channel=self._channel, delivery=str(due.delivery.id))
                await ledger.lose_sight(connection, due.delivery, until, "its sender died or froze")
            case _:
                await self._books.decide(connection, due, step)
        return _Done()

    # --- outside the transaction ---

    async def _do(self, work: _Sending | _LookingUp) -> None:
        if isinstance(work, _LookingUp):
            finding = await self._look_up(work)
            await self._insist(lambda: self._books.record_finding(work.delivery, finding), work.delivery)
        elif (outcome := await self._send(work)) is not None:
            await self._insist(lambda: self._books.record(work.delivery, outcome), work.delivery)
            failpoint("notify.recorded")

    async def _send(self, work: _Sending) -> Outcome | None:
        """None when the lease ran out before anything left: the delivery is not ours any more."""
        delivery = work.delivery
        outcome: Outcome
        try:
            outcome = await self._transport.send(delivery, work.lease)
            if isinstance(outcome, Deferred):
                work.lease.check()  # whoever wakes up may hear of a time-out first
        except LeaseRanOut:
            logger.warning("lease_ran_out", channel=self._channel, delivery=str(delivery.id))
            _attempts.labels(self._channel, "lease_ran_out").inc()
            return None
        except CannotRender as exc:
            outcome = Refused(str(exc))
        except Exception as exc:
            logger.error("transport_defect", channel=self._channel, delivery=str(delivery.id), exc_info=exc)
            outcome = Lost("defect") if work.lease.left else Refused("defect")
        failpoint("notify.answered")
        _attempts.labels(self._channel, type(outcome).__name__.lower()).inc()
        return outcome

    async def _look_up(self, work: _LookingUp) -> Finding:
        try:
            return await self._transport.look_up(work.delivery, work.place)
        except Exception as exc:
            logger.error("look_up_defect", channel=self._channel, delivery=str(work.delivery.id), exc_info=exc)
            return Deferred("defect")

    async def _insist(self, write: Callable[[], Awaitable[None]], delivery: Delivery) -> None:
        """Only we know it, and while the database is gone nobody settles it without us: so we wait for as long as we
        live. Should others be faster in the end, the write finds out."""
        while True:
            try:
                return await write()
            except RetryLater as exc:
                logger.warning("outcome_waits", delivery=str(delivery.id), detail=str(exc))
                await asyncio.sleep(0.5)
            except Exception as exc:
                logger.error("outcome_not_written", delivery=str(delivery.id), exc_info=exc)
                return None
