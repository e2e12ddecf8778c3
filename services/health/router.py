"""The router: from users who have news to every account that the news concerns."""

from __future__ import annotations

import asyncio
from collections import Counter as Counts
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from time import monotonic

from libs.common.db import AsyncConnection, Database, see_workspaces
from libs.common.errors import RetryLater
from libs.common.failpoints import failpoint
from libs.common.observability import REGISTRY, Counter, get_logger
from libs.common.runtime import pause
from libs.common.yielding import Yielding
from services.health.identities import Identities, UserDay
from services.health.store import dirty, identities, requests, schedule, sources
from services.health.store.dirty import DirtyKey, News
from services.health.store.requests import Request
from services.health.store.schedule import AccountKey
from services.health.tally import Lane, RequestKind

logger = get_logger(__name__)

NEWS = {Lane.URGENT: 500, Lane.LIVE: 500}
HISTORY = {Lane.IMPORT: 500}
HISTORY_BESIDE_NEWS = {Lane.IMPORT: 100}
"""Requests in one transaction at most. History has transactions of its own, short ones while there is news, and rests
in between: so a backfill delays no news by more than one of them."""
IDLE_SECONDS = 0.05
BACK_OFF_SECONDS = 0.5
LIVE_SECONDS = 60.0

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
"""Of work that waits for no fact."""

_routed = Counter("kizashi_health_routed_requests_total", "Requests routed", ["lane"], registry=REGISTRY)


class Router:
    """Takes requests and replaces them by dirty rows in one transaction. Several may run beside each other.

    One request may concern two accounts, so whoever serves it must find them all before it is gone.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turned_at = monotonic()
        self._history = Yielding()

    async def live(self) -> str | None:
        """A liveness check: the loop turned within the last minute."""
        idle = monotonic() - self._turned_at
        return f"the router has not turned for {idle:.0f} s" if idle > LIVE_SECONDS else None

    async def run(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set; a lost database is waited for."""
        while not stopping.is_set():
            self._turned_at = monotonic()
            try:
                if not (await self._route_news() + await self._route_history()):
                    await pause(stopping, IDLE_SECONDS)
            except RetryLater as exc:
                logger.warning("router_waits", detail=str(exc))
                await pause(stopping, BACK_OFF_SECONDS)

    async def route_once(self) -> int:
        """Route what is there, at most one round of it. The answer is how many requests were served."""
        return await self._switch_sources() + await self._route(NEWS) + await self._route(HISTORY)

    async def _route_news(self) -> int:
        routed = await self._switch_sources() + await self._route(NEWS)
        if routed:
            self._history.others_worked()
        return routed

    async def _route_history(self) -> int:
        if self._history.rests_for_seconds():
            return 0
        began = monotonic()
        routed = await self._route(HISTORY if self._history.is_alone else HISTORY_BESIDE_NEWS)
        self._history.worked(monotonic() - began)
        return routed

    async def _switch_sources(self) -> int:
        """Take sources as live whose marks have all been read. Everything read before is routed first, so that the
        silent baseline covers it; what is taken by another router and not committed yet still waits."""
        switched = 0
        async with self._database.transaction() as connection:
            for switch in await requests.switches(connection):
                await see_workspaces(connection, [switch.workspace])
                if not await sources.all_marks_are_read(connection, switch.workspace, switch.source):
                    continue
                if await requests.facts_are_on_their_way(connection, switch):
                    continue
                if await sources.go_live(connection, switch.workspace, switch.source, switch.until):
                    logger.info("source_went_live", workspace=switch.workspace, source=switch.source)
                    accounts = await sources.accounts_of(connection, switch.workspace, switch.source)
                    news = News(ALWAYS, switch.since)
                    baseline = [DirtyKey(switch.workspace, one, None, None, Lane.BASELINE) for one in sorted(accounts)]
                    await dirty.add(connection, dict.fromkeys(baseline, news))
                await requests.settle_switch(connection, switch)
                switched += 1
                failpoint("router.switched")
        return switched

    async def _route(self, at_once: Mapping[Lane, int]) -> int:
        async with self._database.transaction() as connection:
            taken = [one for lane, most in at_once.items() for one in await requests.take(connection, lane, most)]
            if not taken:
                return 0
            failpoint("router.taken")
            of_workspace: dict[int, list[Request]] = defaultdict(list)
            for request in taken:
                of_workspace[request.workspace].append(request)
            await see_workspaces(connection, of_workspace)
            found = _Found()
            for workspace, wanted in sorted(of_workspace.items()):
                await _resolve(connection, workspace, wanted, found)
            await schedule.ensure(connection, {AccountKey(row.workspace, row.account) for row in found.rows})
            await dirty.add(connection, found.rows)
            failpoint("router.before_commit")
        failpoint("router.after_commit")
        for lane, count in Counts(request.lane for request in taken).items():
            _routed.labels(lane).inc(count)
        return len(taken)


class _Found:
    """Dirty rows of a round, each once, with the latest of its facts and the earliest of its requests."""

    def __init__(self) -> None:
        self.rows: dict[DirtyKey, News] = {}

    def add(self, key: DirtyKey, news: News) -> None:
        known = self.rows.get(key, news)
        self.rows[key] = News(max(known.until, news.until), min(known.since, news.since))

    def add_for(self, request: Request, account: str, user: str, day: date | None) -> None:
        self.add(DirtyKey(request.workspace, account, user, day, request.lane), News(request.until, request.since))


async def _resolve(connection: AsyncConnection, workspace: int, wanted: Sequence[Request], found: _Found) -> None:
    """Find every account that the requests of a workspace concern."""
    by_kind: dict[RequestKind, list[Request]] = defaultdict(list)
    for request in wanted:
        by_kind[request.kind].append(request)
    by_membership = [request for request in by_kind[RequestKind.USED] if not request.target]
    changes = [
        request for kind in (RequestKind.JOINED, RequestKind.LINKED, RequestKind.RECOUNTED) for request in by_kind[kind]
    ]
    known = await identities.load(connection, workspace, {request.user for request in [*by_membership, *changes]})

    for request in by_kind[RequestKind.USED]:
        if request.target:
            found.add_for(request, request.target, request.user, request.day)
    places = [UserDay(request.user, _day(request)) for request in by_membership]
    for request, account in zip(by_membership, known.accounts(places), strict=True):
        if account is not None:
            found.add_for(request, account, request.user, request.day)
    await _resolve_changes(connection, workspace, [one for one in changes if _matters(one, known)], known, found)


async def _resolve_changes(
    connection: AsyncConnection, workspace: int, changes: Sequence[Request], known: Identities, found: _Found
) -> None:
    """Calls that move a user's days from one account or person to another: all days of everybody whom they move."""
    if not changes:
        return
    behind = await identities.ids_behind(
        connection,
        workspace,
        [(request.user, person) for request in changes for person in _people_moved(request, known)],
    )
    moved = {user for users in behind.values() for user in users}
    holding: dict[str, set[str]] = defaultdict(set)
    for user, account in await identities.accounts_holding(connection, workspace, moved, moved & known.shared):
        holding[user].add(account)
    for request in changes:
        accounts = known.accounts_named_by(request.user)
        for user in behind.get(request.user, ()):
            for account in accounts | holding[user]:
                found.add_for(request, account, user, None)


def _matters(request: Request, known: Identities) -> bool:
    """Whether a call moves any day at all: SDKs repeat the same call with every page."""
    match request.kind:
        case RequestKind.JOINED:
            return not known.joining_changes_nothing(request.user, _day(request), request.target)
        case RequestKind.LINKED:
            return not known.linking_changes_nothing(request.user, _day(request), request.target)
        case _:
            return True


def _people_moved(request: Request, known: Identities) -> Iterable[str]:
    """Whose ids a change moves. Who links an id without calls of its own moves that id; with them, its people too."""
    if request.kind is RequestKind.JOINED or (request.kind is RequestKind.LINKED and known.has_called(request.user)):
        return known.people_of(request.user)
    return [request.user]


def _day(request: Request) -> date:
    if request.day is None:
        raise ValueError(f"a request of kind {request.kind} without a day")
    return request.day
