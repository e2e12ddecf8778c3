"""A source's write keys: made, changed, rotated, revoked. Every process follows within some seconds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from libs.common.api_keys import Principal, Scope
from libs.common.db import Database
from libs.common.web import caller
from services.ingest.api.fields import Expiry, KeyId, Name, Origin, Rotation, SourceId, check_expiry, number
from services.ingest.store import sources, write_keys
from services.ingest.store.key_state import KeyState
from services.ingest.store.write_keys import KeyRules, WriteKey
from services.ingest.write_keys import new_write_key

EventsPerSecond = Annotated[int, Field(ge=1, le=1_000_000), BeforeValidator(number)]


class Rules(BaseModel):
    """What a key may do, and until when."""

    model_config = ConfigDict(extra="forbid")

    expires_at: Expiry | None = None
    events_per_s: EventsPerSecond | None = Field(default=None, description="null leaves it to the installation")
    origins: list[Origin] = Field(
        default=[],
        max_length=50,
        description="the pages that may use it, each as scheme://host[:port]; none: every page. What sends no Origin, "
        "as servers and apps do, is never refused for it",
    )


class NewKey(Rules):
    name: Name = "default"


class WriteKeyAnswer(BaseModel):
    """The key itself begins with ``kzw_`` and this ``id``. ``state`` is of this moment; ``replaced_by`` is the id of
    the key that it was rotated to."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    source: int
    name: str
    state: KeyState
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    events_per_s: int | None
    origins: list[str]
    replaced_by: str | None


class MadeKey(WriteKeyAnswer):
    """``write_key`` is shown this once."""

    write_key: str


class RotatedKey(MadeKey):
    """The new key; ``replaces`` is the old one as it is now."""

    replaces: WriteKeyAnswer


def routes(database: Database) -> APIRouter:
    """``/v1/sources/{source_id}/write-keys``."""
    router = APIRouter(prefix="/v1/sources/{source_id}/write-keys", tags=["write keys"])
    admin: Any = caller(database, Scope.ADMIN)

    @router.get("", summary="A source's write keys, those that ended too")
    async def list_write_keys(source_id: SourceId, who: Principal = admin) -> list[WriteKeyAnswer]:
        async with database.transaction([who.workspace]) as connection:
            await sources.source(connection, who.workspace, source_id)
            found = await write_keys.write_keys(connection, who.workspace, source_id)
        return [WriteKeyAnswer.model_validate(key) for key in found]

    @router.post("", status_code=201, summary="A new write key, shown this once")
    async def create_write_key(source_id: SourceId, new: NewKey, who: Principal = admin) -> MadeKey:
        check_expiry(new.expires_at)
        made = new_write_key()
        rules = KeyRules(new.expires_at, new.events_per_s, _distinct(new.origins))
        async with database.transaction([who.workspace]) as connection:
            await sources.source(connection, who.workspace, source_id)
            key = await write_keys.add_write_key(connection, who.workspace, source_id, new.name, rules, made)
        return MadeKey(**_fields(key), write_key=made.key)

    @router.patch("/{key_id}", summary="Change what a write key may do, or until when")
    async def change_write_key(
        source_id: SourceId, key_id: KeyId, rules: Rules, who: Principal = admin
    ) -> WriteKeyAnswer:
        """What is left out stays as it is. An expired key works again when its expiry moves into the future."""
        check_expiry(rules.expires_at)
        changes = {name: getattr(rules, name) for name in rules.model_fields_set}
        if "origins" in changes:
            changes["origins"] = list(_distinct(rules.origins))
        async with database.transaction([who.workspace]) as connection:
            await sources.source(connection, who.workspace, source_id)
            key = await write_keys.change_write_key(connection, who.workspace, source_id, key_id, changes)
        return WriteKeyAnswer.model_validate(key)

    @router.post("/{key_id}/rotate", status_code=201, summary="A new key in place of this one, shown this once")
    async def rotate_write_key(
        source_id: SourceId, key_id: KeyId, rotation: Rotation | None = None, who: Principal = admin
    ) -> RotatedKey:
        """It has the name and the rules of the old one, and as long a life as that was given."""
        made = new_write_key()
        overlap = (rotation or Rotation()).overlap
        async with database.transaction([who.workspace]) as connection:
            await sources.source(connection, who.workspace, source_id)
            key = await write_keys.rotate_write_key(connection, who.workspace, source_id, key_id, made, overlap)
            old = await write_keys.write_key(connection, who.workspace, source_id, key_id)
        return RotatedKey(**_fields(key), write_key=made.key, replaces=WriteKeyAnswer.model_validate(old))

    @router.delete("/{key_id}", summary="Revoke a write key for good; it works for some seconds more")
    async def revoke_write_key(source_id: SourceId, key_id: KeyId, who: Principal = admin) -> WriteKeyAnswer:
        async with database.transaction([who.workspace]) as connection:
            await sources.source(connection, who.workspace, source_id)
            revoked = await write_keys.revoke_write_key(connection, who.workspace, source_id, key_id)
        return WriteKeyAnswer.model_validate(revoked)

    return router


def _fields(key: WriteKey) -> dict[str, Any]:
    return WriteKeyAnswer.model_validate(key).model_dump()


def _distinct(origins: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(origins))
