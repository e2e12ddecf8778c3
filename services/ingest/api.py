"""The administration of sources and write keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, StringConstraints

from libs.common.api_keys import Principal, Scope
from libs.common.clock import Clock
from libs.common.db import Database
from libs.common.event_log import EventLog
from libs.common.web import caller
from services.ingest import store
from services.ingest.going_live import announce
from services.ingest.store import SourceState
from services.ingest.write_keys import new_write_key

Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
]
KeyId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
SourceId = Annotated[int, Path(ge=1, lt=2**63, description="a source of the caller's workspace")]


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


class NewKey(BaseModel):
    name: Name = "default"


class WriteKeyAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


class MadeKey(WriteKeyAnswer):
    """``write_key`` is shown this once."""

    write_key: str


def routes(database: Database, log: EventLog, clock: Clock) -> APIRouter:
    """``/v1/sources``."""
    router = APIRouter(prefix="/v1/sources", tags=["sources"])
    reader: Any = caller(database, Scope.READ)
    admin: Any = caller(database, Scope.ADMIN)

    @router.get("", summary="The workspace's sources")
    async def list_sources(who: Principal = reader) -> list[SourceAnswer]:
        async with database.transaction([who.workspace]) as connection:
            found = await store.sources(connection, who.workspace)
        return [SourceAnswer.model_validate(source) for source in found]

    @router.post("", status_code=201, summary="A new source; it is importing until it is marked live")
    async def create_source(new: NewSource, who: Principal = admin) -> SourceAnswer:
        async with database.transaction([who.workspace]) as connection:
            made = await store.add_source(connection, who.workspace, new.name)
        return SourceAnswer.model_validate(made)

    @router.get("/{source_id}", summary="One source")
    async def show_source(source_id: SourceId, who: Principal = reader) -> SourceAnswer:
        async with database.transaction([who.workspace]) as connection:
            found = await store.source(connection, who.workspace, source_id)
        return SourceAnswer.model_validate(found)

    @router.post("/{source_id}/live", summary="Its history is complete: from now on it may raise alerts")
    async def mark_live(source_id: SourceId, who: Principal = admin) -> SourceAnswer:
        """Can be repeated: after a 503, and when the event log lost records, of which this may have been one."""
        async with database.transaction([who.workspace]) as connection:
            found = await store.source(connection, who.workspace, source_id)
        at = clock.now()
        await announce(log, who.workspace, source_id, at)
        if found.state is SourceState.IMPORTING:
            async with database.transaction([who.workspace]) as connection:
                found = await store.mark_live(connection, who.workspace, source_id, at)
        return SourceAnswer.model_validate(found)

    @router.get("/{source_id}/write-keys", summary="A source's write keys, revoked ones too")
    async def list_write_keys(source_id: SourceId, who: Principal = admin) -> list[WriteKeyAnswer]:
        async with database.transaction([who.workspace]) as connection:
            await store.source(connection, who.workspace, source_id)
            found = await store.write_keys(connection, who.workspace, source_id)
        return [WriteKeyAnswer.model_validate(key) for key in found]

    @router.post("/{source_id}/write-keys", status_code=201, summary="A new write key, shown this once")
    async def create_write_key(source_id: SourceId, new: NewKey, who: Principal = admin) -> MadeKey:
        made = new_write_key()
        async with database.transaction([who.workspace]) as connection:
            await store.source(connection, who.workspace, source_id)
            key = await store.add_write_key(connection, who.workspace, source_id, new.name, made)
        return MadeKey(
            id=key.id, name=key.name, created_at=key.created_at, revoked_at=key.revoked_at, write_key=made.key
        )

    @router.delete("/{source_id}/write-keys/{key_id}", summary="Revoke a write key; it works for some seconds more")
    async def revoke_write_key(source_id: SourceId, key_id: KeyId, who: Principal = admin) -> WriteKeyAnswer:
        async with database.transaction([who.workspace]) as connection:
            await store.source(connection, who.workspace, source_id)
            revoked = await store.revoke_write_key(connection, who.workspace, source_id, key_id)
        return WriteKeyAnswer.model_validate(revoked)

    return router
