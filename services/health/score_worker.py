"""The score worker: one queue for news and silence. It alone writes accounts."""

from __future__ import annotations

import asyncio
import hashlib
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from time import monotonic
from typing import NamedTuple

import msgspec

from libs.common import outbox
from libs.common.clock import Clock, wall_now
from libs.common.db import AsyncConnection, Database
from libs.common.errors import RetryLater
from libs.common.failpoints import failpoint
from libs.common.observability import REGISTRY, Counter, Histogram, get_logger
from libs.common.runtime import pause
from libs.common.yielding import Yielding
from services.health.conclusion import Circumstances, Conclusion, Remembered, comparison_for, conclude
from services.health.domain import Activity, Assessment, Rulebook, Standing, assess, day_of
from services.health.store import account_facts, accounts, dirty, roll_up, schedule
from services.health.store.accounts import Known
from services.health.store.dirty import Taken
from services.health.store.schedule import AccountKey, Claimed, Frontier
from services.health.tally import Lane

logger = get_logger(__name__)


class Cause(StrEnum):
    """Why an account is scored."""

    URGENT = "urgent"
    NEWS = "news"
    TIME = "time"
    IMPORT = "import"


SHARES = {Cause.URGENT: 8, Cause.NEWS: 5, Cause.TIME: 4, Cause.IMPORT: 3}
"""Accounts of a round that each cause is sure of, so that neither midnight nor a backfill starves news, and no usage a
ticket. What one does not need goes to the others, in this order. Few, since whoever comes after a round has begun waits
for its end."""
ROUND = sum(SHARES.values())
NEWS = frozenset({Cause.URGENT, Cause.NEWS, Cause.TIME})
HISTORY = frozenset({Cause.IMPORT})
"""Scored in rounds of its own, beside those of news, which would else wait for its accounts: they are the expensive
ones, each with all of its days."""
SIDE_BY_SIDE = 4
"""Accounts that one process scores at the same time: most of a scoring is waiting for the database."""
IDLE_SECONDS = 0.05
HISTORY_IDLE_SECONDS = 0.25
BACK_OFF_SECONDS = 0.5
LIVE_SECONDS = 60.0
FAILED_RESTS_FOR = timedelta(minutes=1)
RETRIED_RESTS_FOR = timedelta(seconds=0.25)

_scored = Counter("kizashi_health_scored_accounts_total", "Scorings", ["cause"], registry=REGISTRY)
_failed = Counter("kizashi_health_failed_scorings_total", "Scorings that broke", registry=REGISTRY)
_seconds = Histogram("kizashi_health_scoring_seconds", "Time of one scoring", registry=REGISTRY)


@dataclass(frozen=True)
class Pace:
    """``news_settles``: real time from the first news of an account to its scoring, which further news does not
    postpone; ``urgent_settles`` that of news which can lower a score at once. ``rests_for``: an account rests for so
    many times as long as its scoring took, so that expensive ones leave room for the others. ``usage_rests_for``: so
    do all accounts together that have no other news than usage, or than history. Usage moves scores by days, not by
    seconds, and under constant traffic scoring each of them again at once would take all there is. But one scoring that
    hangs must not silence it: ``usage_rests_most``."""

    urgent_settles: timedelta = timedelta(seconds=0.25)
    news_settles: timedelta = timedelta(seconds=1)
    rests_for: float = 3
    usage_rests_for: float = 1
    usage_rests_most: timedelta = timedelta(seconds=2)


class Candidate(NamedTuple):
    cause: Cause
    key: AccountKey


class ScoreWorker:
    """Several may run beside each other, in one process or many: an account's schedule row is its lock."""

    def __init__(self, database: Database, clock: Clock, rules: Rulebook, pace: Pace = Pace()) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        self._pace = pace
        self._turned_at = {NEWS: monotonic(), HISTORY: monotonic()}
        self._history = Yielding()
        self._rests_until = {Cause.NEWS: 0.0, Cause.IMPORT: 0.0}
        self._tries: dict[AccountKey, int] = {}
        self._activity_digest = _digest_of(rules.model.activity)

    async def live(self) -> str | None:
        """A liveness check: both loops turned within the last minute."""
        idle = monotonic() - min(self._turned_at.values())
        return f"the score worker has not turned for {idle:.0f} s" if idle > LIVE_SECONDS else None

    async def run(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set; scorings in hand are finished first, and a lost database is waited for."""
        await asyncio.gather(
            self._run(stopping, NEWS, self._score_news, IDLE_SECONDS),
            self._run(stopping, HISTORY, self._score_history, HISTORY_IDLE_SECONDS),
        )

    async def _run(
        self,
        stopping: asyncio.Event,
        causes: frozenset[Cause],
        score_some: Callable[[], Awaitable[int]],
        idle_seconds: float,
    ) -> None:
        while not stopping.is_set():
            self._turned_at[causes] = monotonic()
            try:
                if not await score_some():
                    await pause(stopping, idle_seconds)
            except RetryLater as exc:
                logger.warning("score_worker_waits", detail=str(exc))
                await pause(stopping, BACK_OFF_SECONDS)

    async def _score_news(self) -> int:
        scored = await self.score_round(NEWS)
        if scored:
            self._history.others_worked()
        return scored

    async def _score_history(self) -> int:
        if self._history.rests_for_seconds():
            return 0
        began = monotonic()
        if self._history.is_alone:
            return await self.score_round(HISTORY)
        scored = await self.score_round(HISTORY, most=SHARES[Cause.IMPORT], side_by_side=1)
        self._history.worked(monotonic() - began)
        return scored

    async def score_round(
        self, causes: frozenset[Cause] = NEWS | HISTORY, most: int = ROUND, side_by_side: int = SIDE_BY_SIDE
    ) -> int:
        """Score what is due now for one of these causes, at most one round of it. The answer is how many accounts were
        scored.

        Raises RetryLater when the database does not answer; what was not committed is still due.
        """
        async with self._database.transaction() as connection:
            reached = await schedule.frontier(connection, self._clock.now())
            candidates = (await self._candidates(connection, reached, causes))[:most]
        turn, began = asyncio.Semaphore(side_by_side), monotonic()

        async def in_turn(candidate: Candidate) -> bool:
            async with turn:
                self._turned_at[HISTORY if candidate.cause in HISTORY else NEWS] = monotonic()
                return await self._score_or_set_aside(candidate, reached)

        outcomes = await asyncio.gather(*(in_turn(one) for one in candidates), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        self._let_rest(candidates, monotonic() - began)
        return sum(outcome is True for outcome in outcomes)

    def _let_rest(self, scored: Sequence[Candidate], took: float) -> None:
        """``took`` seconds, of which each cause is taken to have had its share."""
        for cause in self._rests_until:
            if count := sum(one.cause is cause for one in scored):
                rest = took * count / len(scored) * self._pace.usage_rests_for
                self._rests_until[cause] = monotonic() + min(rest, self._pace.usage_rests_most.total_seconds())

    async def _candidates(
        self, connection: AsyncConnection, reached: Frontier, causes: frozenset[Cause]
    ) -> list[Candidate]:
        """The accounts of a round: of each cause its share, then what is left of the round."""
        waiting: dict[Cause, Sequence[AccountKey]] = {cause: () for cause in Cause}
        now = monotonic()

        async def with_news(lane: Lane, as_of: datetime) -> list[AccountKey]:
            settles = self._pace.urgent_settles if lane is Lane.URGENT else self._pace.news_settles
            return await schedule.with_news(connection, lane, as_of, settles, ROUND)

        if causes >= NEWS and reached.live is not None:
            waiting[Cause.URGENT] = await with_news(Lane.URGENT, reached.live)
            if now >= self._rests_until[Cause.NEWS]:
                waiting[Cause.NEWS] = await with_news(Lane.LIVE, reached.live)
        if reached.everything is not None:
            if causes >= NEWS:
                waiting[Cause.TIME] = await schedule.due(connection, reached.everything, ROUND)
            if causes >= HISTORY and now >= self._rests_until[Cause.IMPORT]:
                waiting[Cause.IMPORT] = [
                    *await with_news(Lane.BASELINE, reached.everything),
                    *await with_news(Lane.IMPORT, reached.everything),
                ]
        return deal(waiting)

    async def _score_or_set_aside(self, candidate: Candidate, reached: Frontier) -> bool:
        """An account whose scoring breaks must not keep the others waiting."""
        try:
            if candidate.cause is Cause.IMPORT:
                # Its rows are taken in silence. What time has brought about is told before they can hide it.
                await self.score(Candidate(Cause.TIME, candidate.key), reached, also_on_a_new_day=True)
            return await self.score(candidate, reached)
        except RetryLater as exc:
            # Perhaps it is this account, too much for one transaction. If it is the world, the next statement says so.
            tries = self._tries[candidate.key] = self._tries.get(candidate.key, 0) + 1
            workspace, account = candidate.key
            logger.warning("scoring_retries", workspace=workspace, account=account, tries=tries, detail=str(exc))
            await self._set_aside(candidate.key, min(RETRIED_RESTS_FOR * 2 ** min(tries, 10), FAILED_RESTS_FOR))
            return False
        except Exception as exc:
            _failed.inc()
            workspace, account = candidate.key
            logger.error(
                "scoring_failed",
                workspace=workspace,
                account=account,
                error=type(exc).__name__,
                frames=traceback.format_tb(exc.__traceback__)[-3:],  # not the message, which may hold a customer's data
            )
            await self._set_aside(candidate.key, FAILED_RESTS_FOR)
            return False

    async def _set_aside(self, key: AccountKey, how_long: timedelta) -> None:
        """Raises RetryLater when the database does not answer."""
        async with self._database.transaction() as connection:
            await schedule.rest(connection, key, how_long)

    async def score(self, candidate: Candidate, reached: Frontier, *, also_on_a_new_day: bool = False) -> bool:
        """Score one account, in one transaction. False when another worker has it or has just done it.

        ``also_on_a_new_day``: not only when it is due, but also when it was not scored on this day yet.
        """
        started = monotonic()
        key = candidate.key
        async with self._database.transaction([key.workspace]) as connection:
            claimed = await schedule.claim(connection, key)
            if claimed is None:
                return False
            failpoint("score_worker.claimed")
            known = await accounts.find(connection, key)
            as_of = _as_of(candidate.cause, reached, known)
            lane = Lane.IMPORT if candidate.cause is Cause.IMPORT else Lane.LIVE
            taken = await dirty.look(connection, key.workspace, key.account, lane, as_of)
            new_day = also_on_a_new_day and known is not None and day_of(known.remembered.as_of) != day_of(as_of)
            if not (taken.ids or _is_due(claimed, as_of) or new_day):
                return False
            await self._roll_up(connection, key, known, taken)
            facts, has_live_source = await account_facts.load(
                connection, key, self._rules.model, taken.live_sources, as_of
            )
            before = known.remembered if known else None
            quiet = taken.baseline or candidate.cause is Cause.IMPORT or not has_live_source
            standing = await self._standing(connection, key, before, taken)
            assessment = assess(facts, standing, self._rules, as_of, quiet=quiet)
            how = Circumstances(
                quiet=quiet,
                all_read=reached.everything is not None and as_of <= reached.everything,
                due_at=self._due_at(candidate.cause, claimed, taken, as_of),
                now=wall_now(),
                compared_with=await accounts.scorecard_for(connection, key, wanted)
                if (wanted := comparison_for(before, assessment))
                else None,
            )
            conclusion = conclude(key.workspace, key.account, before, assessment, how)
            await self._save(connection, key, known, assessment, conclusion)
            await dirty.delete(connection, taken.ids)
            rest = timedelta(seconds=self._pace.rests_for * (monotonic() - started))
            await schedule.set_next(connection, key, conclusion.due_at, conclusion.publish_at, rest)
            failpoint("score_worker.before_commit")
        failpoint("score_worker.after_commit")
        self._tries.pop(key, None)
        _seconds.observe(monotonic() - started)
        _scored.labels(candidate.cause).inc()
        return True

    async def _roll_up(self, connection: AsyncConnection, key: AccountKey, known: Known | None, taken: Taken) -> None:
        days = await roll_up.roll_up(connection, key, taken) if taken.rolls_up else set()
        if known is not None and known.activity_digest != self._activity_digest:
            days = await roll_up.every_day(connection, key)
        await roll_up.add_up(connection, key, days, self._rules.model.activity)

    async def _standing(
        self, connection: AsyncConnection, key: AccountKey, before: Remembered | None, taken: Taken
    ) -> Standing:
        """What the account is judged from. Another model moves scores although the customer did nothing, and must not
        hide what the customer does: the last judgement is repeated under the model of today, in silence, so that what
        has changed since then is told."""
        if before is None or before.standing.model == self._rules.fingerprint:
            return before.standing if before else Standing()
        facts, _ = await account_facts.load(connection, key, self._rules.model, taken.live_sources, before.as_of)
        judged = assess(facts, before.standing, self._rules, before.as_of, quiet=True).standing
        return msgspec.structs.replace(judged, silence=before.standing.silence)

    async def _save(
        self,
        connection: AsyncConnection,
        key: AccountKey,
        known: Known | None,
        assessment: Assessment,
        conclusion: Conclusion,
    ) -> None:
        await accounts.save(connection, key, known, assessment, conclusion, self._activity_digest)
        await outbox.add(connection, conclusion.events)

    def _due_at(self, cause: Cause, claimed: Claimed, taken: Taken, as_of: datetime) -> datetime:
        """The real time at which what this scoring finds could first be known."""
        if cause is Cause.TIME and claimed.due_at is not None and claimed.due_at <= as_of:
            return self._clock.wall_time_of(claimed.due_at)
        return taken.since or wall_now()


def deal(waiting: Mapping[Cause, Sequence[AccountKey]]) -> list[Candidate]:
    """Each account once, under the first cause that names it."""
    dealt: dict[AccountKey, Cause] = {}
    for take_all in (False, True):
        for cause, keys in waiting.items():
            for key in keys if take_all else keys[: SHARES[cause]]:
                if len(dealt) < ROUND:
                    dealt.setdefault(key, cause)
    return [Candidate(cause, key) for key, cause in dealt.items()]


def _as_of(cause: Cause, reached: Frontier, known: Known | None) -> datetime:
    """An account is never scored at an earlier moment than before."""
    moment = reached.live if cause in (Cause.URGENT, Cause.NEWS) else reached.everything
    if moment is None:
        raise ValueError(f"nothing is due by {cause} while it is not known how far the log has been read")
    return max(moment, known.remembered.as_of) if known else moment


def _is_due(claimed: Claimed, as_of: datetime) -> bool:
    return (claimed.due_at is not None and claimed.due_at <= as_of) or (
        claimed.publish_at is not None and claimed.publish_at <= wall_now()
    )


def _digest_of(activity: Activity) -> bytes:
    return hashlib.blake2b(activity.model_dump_json().encode(), digest_size=16).digest()
