"""HTTP of health: how accounts are doing and why, what they used, and how far the work has come."""

from __future__ import annotations

import base64
import binascii
from datetime import date, datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel

from libs.common.api_keys import Principal, Scope
from libs.common.clock import Clock
from libs.common.db import Database
from libs.common.errors import Refused
from libs.common.events import Band
from libs.common.web import caller
from services.health import keys
from services.health.domain import Line, Presence, Scorecard, Stage, Standing, points
from services.health.identities import UserDay
from services.health.store import identities, pages, schedule
from services.health.store.pages import AccountFilter

Text = Annotated[str | None, Query(pattern=r"^[^\x00]+$")]
Limit = Annotated[int, Query(ge=1, le=500)]
Points = Annotated[float | None, Query(ge=0, le=100)]


class AccountView(BaseModel):
    """``score`` is 0 to 100; it and ``band`` are null while there is too little data. Times are domain time."""

    account_id: str
    name: str
    segment: str
    stage: Stage
    arr: float | None
    owner: str | None
    band: Band | None
    score: float | None
    silent_since: datetime | None
    last_activity_at: datetime | None
    as_of: datetime


class Accounts(BaseModel):
    accounts: list[AccountView]
    next_cursor: str | None = None


class EvidenceView(BaseModel):
    """What a number was counted from; ids are the client's message ids, where the events themselves are kept."""

    count: int
    first_at: datetime
    last_at: datetime
    first_id: str | None
    last_id: str | None


class ExplanationLine(BaseModel):
    """One measure. ``given`` + ``lost`` = ``weight``, all in points of the score; over all lines ``given`` adds up to
    the score and ``lost`` to what is missing from 100. ``marks`` (0-100) is null when the measure is not counted, and
    ``presence`` says why."""

    dimension: str
    measure: str
    title: str
    presence: Presence
    raw: float | None
    value: str
    threshold: str
    window: str
    marks: float | None
    weight: float
    given: float
    lost: float
    evidence: EvidenceView | None


class ModelView(BaseModel):
    name: str
    version: int


class AccountHealth(BaseModel):
    """The scorecard of the account's last scoring. ``coverage`` is the share of weight that could be measured;
    ``episode`` counts the times that the account left green; ``trend`` is usage per week, oldest first."""

    account_id: str
    name: str
    segment: str
    stage: Stage
    arr: float | None
    owner: str | None
    contact_email: str | None
    contact_name: str | None
    renewal_date: date | None
    as_of: datetime
    scored_at: datetime
    version: int
    score: float | None
    band: Band | None
    band_since: datetime | None
    episode: int
    insufficient_data: bool
    coverage: float
    silent_since: datetime | None
    last_activity_at: datetime | None
    trend: list[int]
    model: ModelView
    explanation: list[ExplanationLine]


class DayUsage(BaseModel):
    day: date
    event: str
    count: int


class AccountUsage(BaseModel):
    """Every call that belongs to the account, those of machines and book-keeping ($identify, $group, $alias) too."""

    account_id: str
    total: int
    days: list[DayUsage]


class UserAccounts(BaseModel):
    """``account_id``: to which an event of the user on ``day`` counts that names no account itself; null while no group
    call of the user has said. ``named``: every account that group calls of any of the user's ids ever named."""

    user_id: str
    day: date
    account_id: str | None
    named: list[str]


class WaitingView(BaseModel):
    """``requests``: users with news whose accounts are not found yet. ``dirty``: news not scored yet. ``due``: accounts
    whose own moment has come."""

    requests: int
    dirty: int
    due: int


class SourceView(BaseModel):
    source: int
    state: str


class Progress(BaseModel):
    """``as_of``: the domain time at which accounts are scored, never later than ``caught_up_to``, up to which
    everything accepted has been read; null until that is known. ``usage_total`` counts every event applied,
    ``usage_unassigned`` those that belong to no account, or whose account is still being found (see ``waiting``).
    ``stopped`` names partitions (topic/number) that refused too many records in a row, or whose records are lost: while
    one stands still, so does the time at which accounts are scored. `kizashi log status` says why, and the way out."""

    as_of: datetime | None
    caught_up_to: datetime | None
    waiting: WaitingView
    sources: list[SourceView]
    usage_total: int
    usage_unassigned: int
    stopped: list[str]


def routes(database: Database, clock: Clock) -> APIRouter:
    """``/v1/accounts…``, ``/v1/users…`` and ``/v1/progress``. What belongs to another workspace does not exist here."""
    router = APIRouter(prefix="/v1")
    reader: Any = caller(database, Scope.READ)

    @router.get("/accounts", tags=["accounts"], summary="Accounts in the order of their ids")
    async def accounts(
        who: Principal = reader,
        band: Band | None = None,
        segment: Text = None,
        stage: Stage | None = None,
        score_from: Points = None,
        score_to: Points = None,
        limit: Limit = 100,
        cursor: Annotated[str | None, Query(description="`next_cursor` of the page before")] = None,
    ) -> Accounts:
        wanted = AccountFilter(band=band, segment=segment, stage=stage, score_from=score_from, score_to=score_to)
        after = _from_cursor(cursor) if cursor else None
        async with database.transaction([who.workspace]) as connection:
            rows = await pages.accounts_page(connection, who.workspace, wanted, after, limit + 1)
        shown = rows[:limit]
        return Accounts(
            accounts=[AccountView(**row._mapping) for row in shown],
            next_cursor=_to_cursor(shown[-1].account_id) if len(rows) > limit else None,
        )

    # An account id may hold anything, slashes too.
    @router.get("/accounts/{account_id:path}/health", tags=["accounts"], summary="The score and why it is what it is")
    async def health(account_id: str, who: Principal = reader) -> AccountHealth:
        async with database.transaction([who.workspace]) as connection:
            row = _found(await pages.account(connection, who.workspace, _possible(account_id)))
        return _account_health(row)

    @router.get("/accounts/{account_id:path}/usage", tags=["accounts"], summary="Calls by day and event")
    async def usage(account_id: str, who: Principal = reader) -> AccountUsage:
        async with database.transaction([who.workspace]) as connection:
            _found(await pages.account(connection, who.workspace, _possible(account_id)))
            rows = await pages.usage_of(connection, who.workspace, account_id)
        return AccountUsage(
            account_id=account_id,
            total=sum(row.calls for row in rows),
            days=[DayUsage(day=row.event_day, event=row.event, count=row.calls) for row in rows],
        )

    @router.get("/users/{user_id:path}/accounts", tags=["users"], summary="Where a user belongs by its group calls")
    async def user_accounts(
        user_id: str,
        who: Principal = reader,
        anonymous: Annotated[bool, Query(description="whether it is an anonymous id")] = False,
        on: Annotated[date | None, Query(description="a day, UTC; else today, in domain time")] = None,
    ) -> UserAccounts:
        """Somebody who is not known belongs nowhere yet. Also through aliases, and what was called while anonymous."""
        if "\0" in user_id:
            raise Refused(404, "unknown_user", "There is no such user.")
        key, day = keys.anonymous(user_id) if anonymous else keys.user(user_id), on or clock.now().date()
        async with database.transaction([who.workspace]) as connection:
            known = await identities.load(connection, who.workspace, [key])
        [account_id] = known.accounts([UserDay(key, day)])
        return UserAccounts(user_id=user_id, day=day, account_id=account_id, named=sorted(known.accounts_named_by(key)))

    @router.get("/progress", tags=["progress"], summary="How far facts have come on their way to scores")
    async def progress(who: Principal = reader) -> Progress:
        async with database.transaction([who.workspace]) as connection:
            reached = (await schedule.frontier(connection, clock.now())).everything
            waiting = await pages.waiting(connection, who.workspace, reached)
            sources = await pages.sources(connection, who.workspace)
            applied, assigned = await pages.usage_totals(connection, who.workspace)
            caught_up_to = await pages.caught_up_to(connection)
            stopped = await pages.stopped_partitions(connection)
        return Progress(
            as_of=reached,
            caught_up_to=caught_up_to if reached else None,
            waiting=WaitingView(**vars(waiting)),
            sources=[SourceView(source=row.source, state="live" if row.live_since else "importing") for row in sources],
            usage_total=applied,
            usage_unassigned=applied - assigned,
            stopped=stopped,
        )

    return router


def _possible(account_id: str) -> str:
    """The id, unless PostgreSQL could not hold it."""
    if "\0" in account_id:
        raise _unknown_account()
    return account_id


def _found(row: Any | None) -> Any:
    if row is None:
        raise _unknown_account()
    return row


def _unknown_account() -> Refused:
    return Refused(404, "unknown_account", "There is no such account.")


def _account_health(row: Any) -> AccountHealth:
    card = msgspec.json.decode(row.scorecard, type=Scorecard)
    standing = msgspec.json.decode(row.standing, type=Standing)
    shown = {name: value for name, value in row._mapping.items() if name not in ("scorecard", "standing")}
    return AccountHealth(
        **shown,
        band_since=standing.band.since,
        episode=standing.band.episode,
        insufficient_data=card.insufficient_data,
        coverage=card.coverage,
        model=ModelView(name=card.model, version=card.model_version),
        explanation=[_explanation_line(line) for line in card.lines],
    )


def _explanation_line(line: Line) -> ExplanationLine:
    return ExplanationLine(
        dimension=line.dimension,
        measure=line.measure,
        title=line.title,
        presence=line.presence,
        raw=line.raw,
        value=line.value,
        threshold=line.threshold,
        window=line.window,
        marks=None if line.marks is None else points(line.marks),
        weight=points(line.weight),
        given=points(line.given),
        lost=points(line.lost),
        evidence=EvidenceView(**msgspec.structs.asdict(line.evidence)) if line.evidence else None,
    )


def _to_cursor(account_id: str) -> str:
    return base64.urlsafe_b64encode(account_id.encode()).decode()


def _from_cursor(cursor: str) -> str:
    try:
        account_id = base64.urlsafe_b64decode(cursor.encode()).decode()
    except (binascii.Error, UnicodeError) as exc:
        raise Refused(422, "invalid_cursor", "This cursor is none of ours; leave it out to begin anew.") from exc
    return account_id.replace("\0", "")
