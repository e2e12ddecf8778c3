"""The workspace's API keys: made, rotated, revoked. Every service asks for them at each call, so it holds at once."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from libs.common.api_keys import Principal, Scope, new_api_key
from libs.common.db import Database
from libs.common.errors import Refused
from libs.common.web import caller
from services.ingest.api.fields import Expiry, KeyId, Name, Rotation, check_expiry
from services.ingest.store import api_keys
from services.ingest.store.api_keys import ApiKey
from services.ingest.store.key_state import KeyState


class NewKey(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Name
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=10, description="none that the caller's key lacks")]
    expires_at: Expiry | None = None


class ApiKeyAnswer(BaseModel):
    """The key itself begins with ``kzs_`` and this ``id``. ``state`` is of this moment; ``yours`` says whether it is
    the key of this call; ``replaced_by`` is the id of the key that it was rotated to."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    scopes: list[str]
    state: KeyState
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None
    yours: bool


class MadeKey(ApiKeyAnswer):
    """``api_key`` is shown this once."""

    api_key: str


class RotatedKey(MadeKey):
    """The new key; ``replaces`` is the old one as it is now."""

    replaces: ApiKeyAnswer


def routes(database: Database) -> APIRouter:
    """``/v1/api-keys``."""
    router = APIRouter(prefix="/v1/api-keys", tags=["API keys"])
    admin: Any = caller(database, Scope.ADMIN)

    @router.get("", summary="The workspace's API keys, those that ended too")
    async def list_api_keys(who: Principal = admin) -> list[ApiKeyAnswer]:
        async with database.transaction([who.workspace]) as connection:
            found = await api_keys.api_keys(connection, who.workspace)
        return [_answer(key, who) for key in found]

    @router.post("", status_code=201, summary="A new API key, shown this once")
    async def create_api_key(new: NewKey, who: Principal = admin) -> MadeKey:
        check_expiry(new.expires_at)
        scopes = list(dict.fromkeys(new.scopes))
        _may_give(who, scopes)
        made = new_api_key()
        async with database.transaction([who.workspace]) as connection:
            key = await api_keys.add_api_key(connection, who.workspace, new.name, scopes, new.expires_at, made)
        return MadeKey(**_answer(key, who).model_dump(), api_key=made.token)

    @router.post("/{public_id}/rotate", status_code=201, summary="A new key in place of this one, shown this once")
    async def rotate_api_key(public_id: KeyId, rotation: Rotation | None = None, who: Principal = admin) -> RotatedKey:
        """It has the name and the scopes of the old one, and as long a life as that was given."""
        made = new_api_key()
        overlap = (rotation or Rotation()).overlap
        async with database.transaction([who.workspace]) as connection:
            _may_give(who, (await api_keys.api_key(connection, who.workspace, public_id)).scopes)
            key = await api_keys.rotate_api_key(connection, who.workspace, public_id, made, overlap)
            old = await api_keys.api_key(connection, who.workspace, public_id)
        return RotatedKey(**_answer(key, who).model_dump(), api_key=made.token, replaces=_answer(old, who))

    @router.delete("/{public_id}", summary="Revoke an API key for good, everywhere at once")
    async def revoke_api_key(public_id: KeyId, who: Principal = admin) -> ApiKeyAnswer:
        """409 for the last one that works and has the scope admin."""
        async with database.transaction([who.workspace]) as connection:
            return _answer(await api_keys.revoke_api_key(connection, who.workspace, public_id), who)

    return router


def _may_give(who: Principal, scopes: Iterable[str]) -> None:
    """Whoever makes or rotates a key sees it, so it must open nothing that is closed to them."""
    beyond = sorted(set(scopes) - {scope.value for scope in who.scopes})
    if beyond:
        raise Refused(403, "missing_scope", f"This API key lacks the scope {', '.join(beyond)}, so it cannot give it.")


def _answer(key: ApiKey, who: Principal) -> ApiKeyAnswer:
    return ApiKeyAnswer(
        id=key.id,
        name=key.name,
        scopes=list(key.scopes),
        state=key.state,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        replaced_by=key.replaced_by,
        yours=key.id == who.key_id,
    )
