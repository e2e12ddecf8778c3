"""Writes decisions and outcomes into the ledger, each with the one result that follows from it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import assert_never

from libs.common import outbox
from libs.common.clock import Clock, wall_now
from libs.common.db import AsyncConnection, Database
from libs.common.events import Channel
from libs.common.observability import REGISTRY, Counter, Histogram, get_logger
from services.notify.domain import decisions, results
from services.notify.domain.decisions import Fail, Send, Suppress, Wait
from services.notify.domain.delivery import Delivery, State, Waiting
from services.notify.domain.outcomes import Accepted, Deferred, Finding, Lost, Outcome, Refused
from services.notify.store import ledger, policy
from services.notify.store.ledger import Due

logger = get_logger(__name__)

_settled = Counter(
    "kizashi_notify_deliveries_total", "Settled deliveries", ["channel", "state", "reason"], registry=REGISTRY
)
_doubtful = Counter(
    "kizashi_notify_doubtful_total", "Calls repeated or given up that may have told", ["channel"], registry=REGISTRY
)
_too_late = Counter("kizashi_notify_too_late_total", "Outcomes that others had settled", ["channel"], registry=REGISTRY)
_to_acceptance = Histogram(
    "kizashi_notify_due_to_accepted_seconds",
    "From due to the provider's acknowledgement",
    ["channel"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
    registry=REGISTRY,
)


class Books:
    """The ledger of one channel, as its sender writes it.

    ``spacing`` is real time between two messages of a lane; ``margin`` how long a provider may go on working on a call
    that we have given up; ``luck`` gives random numbers from 0 up to 1.
    """

    def __init__(
        self,
        *,
        channel: Channel,
        database: Database,
        clock: Clock,
        spacing: timedelta,
        margin: timedelta,
        luck: Callable[[], float],
    ) -> None:
        self._channel = channel
        self._database = database
        self._clock = clock
        self._spacing = spacing
        self._margin = margin
        self._luck = luck

    async def begin_sending(self, connection: AsyncConnection, due: Due, doubtful: int, lease: timedelta) -> Delivery:
        """The delivery as it is once this is committed: ``sending``, and ours until the lease ends."""
        self._count_doubt(due.delivery, doubtful)
        return await ledger.begin_sending(connection, due, doubtful=doubtful, lease=lease)

    async def decide(self, connection: AsyncConnection, due: Due, step: Wait | Suppress | Fail) -> None:
        """Write a decision for which nothing leaves the house."""
        match step:
            case Wait(until, why):
                await ledger.reschedule(connection, due.delivery, until, why)
                if why is Waiting.HOURLY_CAP:
                    await ledger.wait_for_cap(connection, due.delivery.workspace, self._channel, until)
            case Suppress(reason, doubtful):
                self._count_doubt(due.delivery, doubtful)
                await ledger.settle(connection, due.delivery, State.SUPPRESSED, doubtful=doubtful, reason=reason)
                at = self._clock.now()
                await outbox.add(connection, [results.suppressed(due.delivery, reason=reason, at=at)])
                _settled.labels(self._channel, "suppressed", reason).inc()
            case Fail(reason, doubtful):
                await self._fail(connection, due, reason, doubtful)
            case _:
                assert_never(step)

    async def record(self, sent: Delivery, outcome: Outcome) -> None:
        """Write what a call ended with, unless another attempt has begun.

        An acceptance counts even when others have decided meanwhile to try again, since they have not yet.
        """
        heard_at = wall_now()
        async with self._database.transaction([sent.workspace]) as connection:
            due = await ledger.hold(connection, sent)
            if due is None or (due.delivery.state is State.PENDING and not isinstance(outcome, Accepted)):
                _too_late.labels(self._channel).inc()
                logger.warning("outcome_too_late", channel=self._channel, delivery=str(sent.id))
                return
            next_at = due.now + self._spacing
            match outcome:
                case Accepted():
                    await ledger.free_lane(connection, due, until=next_at, failures=0, place=outcome.place)
                    await self._accept(connection, due, outcome, heard_at)
                case Refused(reason, dead_address):
                    await ledger.free_lane(connection, due, until=next_at, failures=0)
                    if dead_address:
                        await self._suppress_target(connection, due.delivery, reason)
                    await self._fail(connection, due, reason, due.delivery.doubtful)
                case Deferred():
                    await self._defer(connection, due, outcome, next_at)
                case Lost(reason):
                    until = decisions.settled_from(due.delivery, now=due.now, margin=self._margin)
                    await ledger.lose_sight(connection, due.delivery, until, reason)
                    await ledger.free_lane(connection, due, until=next_at, failures=due.channel_failures)
                case _:
                    assert_never(outcome)

    async def record_finding(self, unknown: Delivery, finding: Finding) -> None:
        """Write what a look-up found, unless somebody else has settled it meanwhile."""
        async with self._database.transaction([unknown.workspace]) as connection:
            due = await ledger.hold(connection, unknown)
            if due is None or due.delivery.state is not State.UNKNOWN:
                return
            if isinstance(finding, Accepted):
                await self._accept(connection, due, finding, due.now)
                return
            step = decisions.after_look_up(
                due.delivery,
                finding,
                await policy.rules_for(connection, due.delivery, due.now),
                now=due.now,
                as_of=self._clock.now(),
                luck=self._luck(),
            )
            if isinstance(step, Send):
                self._count_doubt(due.delivery, step.doubtful)
                await ledger.try_again(
                    connection, due.delivery, until=due.now, why=Waiting.TURN, doubtful=step.doubtful, problem=None
                )
            else:
                await self.decide(connection, due, step)

    async def _accept(self, connection: AsyncConnection, due: Due, accepted: Accepted, heard_at: datetime) -> None:
        delivery, provider_id = due.delivery, accepted.provider_id
        await ledger.settle(
            connection,
            delivery,
            State.SENT,
            doubtful=delivery.doubtful,
            provider_id=provider_id,
            accepted_at=heard_at,
        )
        at = self._clock.now()
        await outbox.add(
            connection, [results.delivered(delivery, provider_id=provider_id, accepted_at=heard_at, at=at)]
        )
        _settled.labels(self._channel, "sent", "").inc()
        _to_acceptance.labels(self._channel).observe((heard_at - delivery.due_at).total_seconds())

    async def _defer(self, connection: AsyncConnection, due: Due, outcome: Deferred, next_at: datetime) -> None:
        failures = due.channel_failures + 1 if outcome.whole_channel else 0
        plan = decisions.retry(due.delivery, outcome, channel_failures=failures, now=due.now, luck=self._luck())
        await ledger.try_again(
            connection,
            due.delivery,
            until=plan.until,
            why=plan.why,
            doubtful=due.delivery.doubtful,
            problem=outcome.reason,
        )
        until = max(next_at, plan.channel_until or next_at)
        await ledger.free_lane(connection, due, until=until, failures=failures)

    async def _fail(self, connection: AsyncConnection, due: Due, reason: str, doubtful: int) -> None:
        self._count_doubt(due.delivery, doubtful)
        await ledger.settle(connection, due.delivery, State.FAILED, doubtful=doubtful, reason=reason)
        await outbox.add(connection, [results.failed(due.delivery, reason=reason, at=self._clock.now())])
        _settled.labels(self._channel, "failed", reason).inc()

    async def _suppress_target(self, connection: AsyncConnection, delivery: Delivery, reason: str) -> None:
        if delivery.target is not None:
            await policy.suppress_target(
                connection, delivery.workspace, self._channel, delivery.target, reason, by="provider"
            )

    def _count_doubt(self, delivery: Delivery, doubtful: int) -> None:
        _doubtful.labels(self._channel).inc(doubtful - delivery.doubtful)
