"""A source's write keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict

from libs.common.api_keys import Principal, Scope
from libs.common.db import Database
from libs.common.web import caller
from services.ingest.api.fields import Name, SourceId
from services.ingest.store import sources, write_keys
from services.ingest.write_keys import new_write_key

KeyId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


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


def routes(database: Database) -> APIRouter:
    """``/sources/{source_id}/write-keys``."""
    router = APIRouter(prefix="/sources/{source_id}/write-keys", tags=["write keys"])
    admin: Any = caller(database, Scope.ADMIN)

    @router.get("", summary="A source's write keys, revoked ones too")
    async def list_write_keys(source_id: SourceId, who: Principal = admin) -> list[WriteKeyAnswer]:
        async with database.transaction([who.workspace]) as connection:
            await sources.source(connection, who.workspace, source_id)
            found = await write_keys.write_keys(connection, who.workspace, source_id)
        return [WriteKeyAnswer.model_validate(key) for key in found]

    @router.post("", status_code=201, summary="A new write key, shown this once")
    async def create_write_key(source_id: SourceId, new: NewKey, who: Principal = admin) -> MadeKey:
        made = new_write_key()
        async with database.transaction([who.workspace]) as connection:
            await sources.source(connection, who.workspace, source_id)
            key = await write_keys.add_write_key(connection, who.workspace, source_id, new.name, made)
        return MadeKey(
            id=key.id, name=key.name, created_at=key.created_at, revoked_at=key.revoked_at, write_key=made.key
        )

    @router.delete("/{key_id}", summary="Revoke a write key; it works for some seconds more")
    async def revoke_write_key(source_id: SourceId, key_id: KeyId, who: Principal = admin) -> WriteKeyAnswer:
        async with database.transaction([who.workspace]) as connection:
            await sources.source(connection, who.workspace, source_id)
            revoked = await write_keys.revoke_write_key(connection, who.workspace, source_id, key_id)
        return WriteKeyAnswer.model_validate(revoked)

    return router
