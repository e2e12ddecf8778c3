"""Write keys, without their secrets. Found by their hash before any workspace is known, so no policy of the database
keeps workspaces apart here: every other query names its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from libs.common.db import AsyncConnection, text
from libs.common.errors import Refused
from services.ingest.store.key_state import STATE_OF_K, Key, KeyState, check_rotatable, end_key
from services.ingest.write_keys import KeyOwner, NewWriteKey


@dataclass(frozen=True, slots=True)
class KeyRules:
    """What a key may do, and until when (real time). None and none: no limit of its own."""

    expires_at: datetime | None = None
    events_per_s: int | None = None
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteKey(Key):
    source: int
    events_per_s: int | None
    origins: tuple[str, ...]


async def owner_of_key(connection: AsyncConnection, secret_hash: bytes) -> KeyOwner | None:
    """Whose a key is that works now."""
    found = (
        await connection.execute(
            text(
                "SELECT workspace_id, source_id, key_id, events_per_s, origins, expires_at FROM write_key "
                "WHERE secret_hash = :secret_hash AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
            ),
            {"secret_hash": secret_hash},
        )
    ).one_or_none()
    if found is None:
        return None
    return KeyOwner(
        workspace=found.workspace_id,
        source=found.source_id,
        key_id=found.key_id,
        events_per_s=found.events_per_s,
        origins=frozenset(found.origins),
        expires_at=found.expires_at,
    )


_KEYS = (
    "SELECT k.key_id, k.source_id, k.name, k.created_at, k.expires_at, k.revoked_at, k.events_per_s, k.origins, "
    f"{STATE_OF_K} AS state, "
    "(SELECT newer.key_id FROM write_key newer WHERE newer.replaces = k.key_id) AS replaced_by "
    "FROM write_key k WHERE k.workspace_id = :workspace AND k.source_id = :source"
)
_THE_KEY = "WHERE workspace_id = :workspace AND source_id = :source AND key_id = :id"


async def write_keys(connection: AsyncConnection, workspace: int, source_id: int) -> list[WriteKey]:
    """Those that ended, too; oldest first."""
    rows = await connection.execute(
        text(f"{_KEYS} ORDER BY k.created_at, k.key_id"), {"workspace": workspace, "source": source_id}
    )
    return [_write_key(row) for row in rows]


async def write_key(connection: AsyncConnection, workspace: int, source_id: int, key_id: str) -> WriteKey:
    """Raises Refused 404."""
    row = (
        await connection.execute(
            text(f"{_KEYS} AND k.key_id = :id"), {"workspace": workspace, "source": source_id, "id": key_id}
        )
    ).one_or_none()
    if row is None:
        raise Refused(404, "unknown_write_key", f"The source has no write key {key_id}.")
    return _write_key(row)


async def add_write_key(
    connection: AsyncConnection, workspace: int, source_id: int, name: str, rules: KeyRules, new: NewWriteKey
) -> WriteKey:
    """``source_id`` must be one of the workspace's."""
    await connection.execute(
        text(
            "INSERT INTO write_key (key_id, workspace_id, source_id, name, secret_hash, expires_at, events_per_s, "
            "origins) VALUES (:id, :workspace, :source, :name, :secret_hash, :expires_at, :events_per_s, :origins)"
        ),
        {
            "id": new.key_id,
            "workspace": workspace,
            "source": source_id,
            "name": name,
            "secret_hash": new.secret_hash,
            "expires_at": rules.expires_at,
            "events_per_s": rules.events_per_s,
            "origins": list(rules.origins),
        },
    )
    return await write_key(connection, workspace, source_id, new.key_id)


async def change_write_key(
    connection: AsyncConnection, workspace: int, source_id: int, key_id: str, changes: Mapping[str, Any]
) -> WriteKey:
    """``changes`` are fields of KeyRules. Raises Refused 404, and 409 when the key was revoked."""
    if changes:
        columns = ", ".join(f"{column} = :{column}" for column in changes)
        await connection.execute(
            text(f"UPDATE write_key SET {columns} {_THE_KEY} AND revoked_at IS NULL"),
            {"workspace": workspace, "source": source_id, "id": key_id, **changes},
        )
    key = await write_key(connection, workspace, source_id, key_id)
    if key.state is KeyState.REVOKED:
        raise Refused(409, "write_key_revoked", f"Write key {key_id} is revoked for good; make another one.")
    return key


async def rotate_write_key(
    connection: AsyncConnection,
    workspace: int,
    source_id: int,
    key_id: str,
    new: NewWriteKey,
    overlap: timedelta,
) -> WriteKey:
    """The new key, with the name and rules of the old one and as long a life as that was given. The old one works for
    ``overlap`` more, unless it ends earlier by itself. Raises Refused 404, and 409 when it has ended or was rotated.
    """
    one = {"workspace": workspace, "source": source_id, "id": key_id}
    # Whoever else rotates it waits here, and finds it rotated in the next statement.
    await connection.execute(text(f"SELECT FROM write_key {_THE_KEY} FOR UPDATE"), one)
    old = await write_key(connection, workspace, source_id, key_id)
    check_rotatable(old, "Write key")
    await connection.execute(
        text(
            "INSERT INTO write_key (key_id, workspace_id, source_id, name, secret_hash, expires_at, events_per_s, "
            "origins, replaces) SELECT :new_id, workspace_id, source_id, name, :secret_hash, "
            f"now() + (expires_at - created_at), events_per_s, origins, key_id FROM write_key {_THE_KEY}"
        ),
        {**one, "new_id": new.key_id, "secret_hash": new.secret_hash},
    )
    await end_key(connection, "write_key", _THE_KEY, one, after=overlap)
    return await write_key(connection, workspace, source_id, new.key_id)


async def revoke_write_key(connection: AsyncConnection, workspace: int, source_id: int, key_id: str) -> WriteKey:
    """Revoked now, or still since earlier. Raises Refused 404."""
    await end_key(connection, "write_key", _THE_KEY, {"workspace": workspace, "source": source_id, "id": key_id})
    return await write_key(connection, workspace, source_id, key_id)


def _write_key(row: Any) -> WriteKey:
    return WriteKey(
        id=row.key_id,
        source=row.source_id,
        name=row.name,
        state=KeyState(row.state),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        events_per_s=row.events_per_s,
        origins=tuple(row.origins),
        replaced_by=row.replaced_by,
    )
