"""API keys, without their secrets. Found by their id before any workspace is known, so no policy of the database keeps
workspaces apart here: every query names its own. All services let in whom this table knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from libs.common.api_keys import NewApiKey, Scope
from libs.common.db import AsyncConnection, text
from libs.common.errors import Refused
from services.ingest.store.key_state import STATE_OF_K, Key, KeyState, check_rotatable, end_key


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(Key):
    """``scopes`` may hold one of a newer release."""

    scopes: tuple[str, ...]

    @property
    def makes_keys(self) -> bool:
        return self.state is KeyState.WORKS and Scope.ADMIN in self.scopes


_KEYS = (
    "SELECT k.public_id, k.name, k.scopes, k.created_at, k.expires_at, k.revoked_at, "
    f"{STATE_OF_K} AS state, "
    "(SELECT newer.public_id FROM access.api_key newer WHERE newer.replaces = k.public_id) AS replaced_by "
    "FROM access.api_key k WHERE k.workspace_id = :workspace"
)
_THE_KEY = "WHERE workspace_id = :workspace AND public_id = :id"


async def api_keys(connection: AsyncConnection, workspace: int) -> list[ApiKey]:
    """Those that ended, too; oldest first."""
    rows = await connection.execute(text(f"{_KEYS} ORDER BY k.created_at, k.public_id"), {"workspace": workspace})
    return [_api_key(row) for row in rows]


async def api_key(connection: AsyncConnection, workspace: int, public_id: str) -> ApiKey:
    """Raises Refused 404."""
    row = (
        await connection.execute(text(f"{_KEYS} AND k.public_id = :id"), {"workspace": workspace, "id": public_id})
    ).one_or_none()
    if row is None:
        raise Refused(404, "unknown_api_key", f"There is no API key {public_id}.")
    return _api_key(row)


async def add_api_key(
    connection: AsyncConnection,
    workspace: int,
    name: str,
    scopes: Sequence[Scope],
    expires_at: datetime | None,
    new: NewApiKey,
) -> ApiKey:
    await connection.execute(
        text(
            "INSERT INTO access.api_key (public_id, workspace_id, name, secret_hash, scopes, expires_at) "
            "VALUES (:id, :workspace, :name, :secret_hash, :scopes, :expires_at)"
        ),
        {
            "id": new.public_id,
            "workspace": workspace,
            "name": name,
            "secret_hash": new.secret_hash,
            "scopes": [scope.value for scope in scopes],
            "expires_at": expires_at,
        },
    )
    return await api_key(connection, workspace, new.public_id)


async def rotate_api_key(
    connection: AsyncConnection, workspace: int, public_id: str, new: NewApiKey, overlap: timedelta
) -> ApiKey:
    """The new key, with the name and scopes of the old one and as long a life as that was given. The old one works for
    ``overlap`` more, unless it ends earlier by itself. Raises Refused 404, and 409 when it has ended or was rotated.
    """
    one = {"workspace": workspace, "id": public_id}
    # Whoever else rotates it waits here, and finds it rotated in the next statement.
    await connection.execute(text(f"SELECT FROM access.api_key {_THE_KEY} FOR UPDATE"), one)
    old = await api_key(connection, workspace, public_id)
    check_rotatable(old, "API key")
    await connection.execute(
        text(
            "INSERT INTO access.api_key (public_id, workspace_id, name, secret_hash, scopes, expires_at, replaces) "
            "SELECT :new_id, workspace_id, name, :secret_hash, scopes, now() + (expires_at - created_at), public_id "
            f"FROM access.api_key {_THE_KEY}"
        ),
        {**one, "new_id": new.public_id, "secret_hash": new.secret_hash},
    )
    await end_key(connection, "access.api_key", _THE_KEY, one, after=overlap)
    return await api_key(connection, workspace, new.public_id)


async def revoke_api_key(connection: AsyncConnection, workspace: int, public_id: str) -> ApiKey:
    """Revoked now, or still since earlier. Raises Refused 404, and 409 for the last one that can make others."""
    # Two that revoke the last two keys at once must not both find the other's.
    await connection.execute(
        text(
            "SELECT FROM access.api_key WHERE workspace_id = :workspace AND revoked_at IS NULL "
            "ORDER BY public_id FOR UPDATE"
        ),
        {"workspace": workspace},
    )
    key = await api_key(connection, workspace, public_id)
    others = [one for one in await api_keys(connection, workspace) if one.id != key.id]
    if key.makes_keys and not any(one.makes_keys and one.replaced_by is None for one in others):
        raise Refused(
            409,
            "last_admin_key",
            f"API key {public_id} is the last one of this workspace that works and has the scope admin: without it "
            "nobody could make keys any more. Make another one with admin first, and revoke this one with that.",
        )
    await end_key(connection, "access.api_key", _THE_KEY, {"workspace": workspace, "id": public_id})
    return await api_key(connection, workspace, public_id)


def _api_key(row: Any) -> ApiKey:
    return ApiKey(
        id=row.public_id,
        name=row.name,
        scopes=tuple(row.scopes),
        state=KeyState(row.state),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        replaced_by=row.replaced_by,
    )
