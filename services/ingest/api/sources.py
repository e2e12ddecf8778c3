"""Sources: made, shown, marked live."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from libs.common.api_keys import Principal, Scope
from libs.common.clock import Clock
from libs.common.db import Database
from libs.common.event_log import EventLog
from libs.common.web import caller
from services.ingest.api.fields import Name, SourceId
from services.ingest.domain.findings import findings
from services.ingest.going_live import announce
from services.ingest.store import recent, sources
from services.ingest.store.sources import SourceState


class NewSource(BaseModel):
    name: Name


class SourceAnswer(BaseModel):
    """``live_at`` is when it was marked live, in the installation's own time."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    state: SourceState
    created_at: datetime
    live_at: datetime | None


class FindingAnswer(BaseModel):
    """Something that is not as it should be. ``code`` is for programs; ``remedy`` says what to do."""

    model_config = ConfigDict(from_attributes=True)

    code: str
    sentence: str
    remedy: str


class SourceInFull(SourceAnswer):
    """``findings``: what its last events say about how the product was connected."""

    findings: list[FindingAnswer]


def routes(database: Database, log: EventLog, clock: Clock) -> APIRouter:
    """``/v1/sources``."""
    router = APIRouter(prefix="/v1/sources", tags=["sources"])
    reader: Any = caller(database, Scope.READ)
    admin: Any = caller(database, Scope.ADMIN)

    @router.get("", summary="The workspace's sources")
    async def list_sources(who: Principal = reader) -> list[SourceAnswer]:
        async with database.transaction([who.workspace]) as connection:
            found = await sources.sources(connection, who.workspace)
        return [SourceAnswer.model_validate(source) for source in found]

    @router.post("", status_code=201, summary="A new source; it is importing until it is marked live")
    async def create_source(new: NewSource, who: Principal = admin) -> SourceAnswer:
        async with database.transaction([who.workspace]) as connection:
            made = await sources.add_source(connection, who.workspace, new.name)
        return SourceAnswer.model_validate(made)

    @router.get("/{source_id}", summary="One source, and what its last events say about how it was connected")
    async def show_source(source_id: SourceId, who: Principal = reader) -> SourceInFull:
        async with database.transaction([who.workspace]) as connection:
            found = await sources.source(connection, who.workspace, source_id)
            events = await recent.events(connection, who.workspace, source_id)
            rejects = await recent.rejects(connection, who.workspace, source_id)
        noticed = findings([one.row for one in events], [one.row for one in rejects], clock.now())
        return SourceInFull(
            **SourceAnswer.model_validate(found).model_dump(),
            findings=[FindingAnswer.model_validate(one) for one in noticed],
        )

    @router.post("/{source_id}/live", summary="Its history is complete: from now on it may raise alerts")
    async def mark_live(source_id: SourceId, who: Principal = admin) -> SourceAnswer:
        """Can be repeated: after a 503, and when the event log lost records, of which this may have been one."""
        async with database.transaction([who.workspace]) as connection:
            found = await sources.source(connection, who.workspace, source_id)
        at = clock.now()
        await announce(log, who.workspace, source_id, at)
        if found.state is SourceState.IMPORTING:
            async with database.transaction([who.workspace]) as connection:
                found = await sources.mark_live(connection, who.workspace, source_id, at)
        return SourceAnswer.model_validate(found)

    return router
