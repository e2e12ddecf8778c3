"""What was taken and refused lately: did my event arrive?"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from libs.common.api_keys import Principal, Scope
from libs.common.db import Database
from libs.common.events import TelemetryKind
from libs.common.web import caller
from services.ingest.api.fields import SourceId
from services.ingest.domain.recent import KEPT, RecentEvent, RecentReject
from services.ingest.domain.remedies import remedy
from services.ingest.store import recent, sources
from services.ingest.store.recent import Numbered

After = Annotated[int, Query(ge=0, lt=2**63, description="the `cursor` of an earlier answer: only what is newer")]
Limit = Annotated[int, Query(ge=1, le=KEPT)]
Lane = Literal["live", "import"]


class RecentEventAnswer(BaseModel):
    """An event that is durable. ``account_rule`` says where it named its account; both are null when it names none, and
    then it counts to the account of its user's group calls (health knows it: /v1/users/{id}/accounts)."""

    number: int = Field(description="greater for what was written later")
    received_at: datetime
    occurred_at: datetime
    message_id: str
    message_id_sent: bool = Field(description="false: the client sent none, and this one was made here")
    kind: TelemetryKind
    event: str
    user_id: str | None
    anonymous_id: str | None
    account_id: str | None
    account_rule: str | None
    flags: list[str] = Field(description="how its time was mended")
    lane: Lane
    strict: bool
    write_key: str = Field(description="the id of the key it came by")


class RecentEvents(BaseModel):
    """Newest first. ``cursor`` goes into the next ``after``."""

    events: list[RecentEventAnswer]
    cursor: int


class RejectAnswer(BaseModel):
    """An event that was refused, or with a ``status`` whole requests that were answered so. ``times``: how many of them
    this one line stands for. ``original`` is the beginning of what was sent."""

    number: int
    received_at: datetime
    status: int | None
    code: str
    message: str
    remedy: str
    times: int
    index: int | None = Field(description="the event's place in its batch")
    message_id: str | None
    original: str | None
    original_encoding: Literal["utf-8", "base64"]
    original_bytes: int = Field(description="how long the whole was")
    lane: Lane
    strict: bool
    write_key: str


class Rejects(BaseModel):
    """Newest first. ``cursor`` goes into the next ``after``."""

    rejects: list[RejectAnswer]
    cursor: int


def routes(database: Database) -> APIRouter:
    """``/v1/sources/{source_id}/recent`` and ``…/rejects``."""
    router = APIRouter(prefix="/v1/sources/{source_id}", tags=["did it arrive?"])
    reader: Any = caller(database, Scope.READ)

    @router.get("/recent", summary="The last events that were taken, at most seconds old")
    async def list_recent(
        source_id: SourceId, who: Principal = reader, after: After = 0, limit: Limit = KEPT
    ) -> RecentEvents:
        """For people, best effort: a crash or an overload may leave some out. The event log is the truth."""
        async with database.transaction([who.workspace]) as connection:
            await sources.source(connection, who.workspace, source_id)
            found = await recent.events(connection, who.workspace, source_id, after=after, most=limit)
        return RecentEvents(events=[_event(one.number, one.row) for one in found], cursor=_cursor(found, after))

    @router.get("/rejects", summary="What was refused last, with the reason and what to do")
    async def list_rejects(
        source_id: SourceId, who: Principal = reader, after: After = 0, limit: Limit = KEPT
    ) -> Rejects:
        """For people, best effort. Every refused event is kept with all of its bytes, but for a write key, on the
        dead-letter topic."""
        async with database.transaction([who.workspace]) as connection:
            await sources.source(connection, who.workspace, source_id)
            found = await recent.rejects(connection, who.workspace, source_id, after=after, most=limit)
        return Rejects(rejects=[_reject(one.number, one.row) for one in found], cursor=_cursor(found, after))

    return router


def _cursor(found: Sequence[Numbered[RecentEvent]] | Sequence[Numbered[RecentReject]], after: int) -> int:
    return max((one.number for one in found), default=after)


def _lane(historical: bool) -> Lane:
    return "import" if historical else "live"


def _event(number: int, event: RecentEvent) -> RecentEventAnswer:
    return RecentEventAnswer(
        number=number,
        received_at=event.received_at,
        occurred_at=event.occurred_at,
        message_id=event.message_id,
        message_id_sent=event.message_id_sent,
        kind=TelemetryKind(event.kind),
        event=event.event,
        user_id=event.user_id,
        anonymous_id=event.anonymous_id,
        account_id=event.account_id,
        account_rule=event.account_rule,
        flags=list(event.flags),
        lane=_lane(event.historical),
        strict=event.strict,
        write_key=event.key_id,
    )


def _reject(number: int, reject: RecentReject) -> RejectAnswer:
    original, encoding = _readable(reject.original)
    return RejectAnswer(
        number=number,
        received_at=reject.received_at,
        status=reject.status,
        code=reject.code,
        message=reject.message,
        remedy=remedy(reject.code),
        times=reject.times,
        index=reject.index,
        message_id=reject.message_id,
        original=original if reject.original_bytes else None,
        original_encoding=encoding,
        original_bytes=reject.original_bytes,
        lane=_lane(reject.historical),
        strict=reject.strict,
        write_key=reject.key_id,
    )


def _readable(original: bytes) -> tuple[str, Literal["utf-8", "base64"]]:
    """As text; what is cut in the middle of a character is text too."""
    try:
        return original.decode(), "utf-8"
    except UnicodeDecodeError as exc:
        if exc.reason == "unexpected end of data":
            return original[: exc.start].decode(), "utf-8"
    return base64.b64encode(original).decode(), "base64"
