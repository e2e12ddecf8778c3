"""Write keys, without their secrets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.common.db import AsyncConnection, text
from libs.common.errors import Refused
from services.ingest.write_keys import KeyOwner, NewWriteKey


@dataclass(frozen=True, slots=True)
class WriteKey:
    """A key without its secret."""

    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


async def owner_of_key(connection: AsyncConnection, secret_hash: bytes) -> KeyOwner | None:
    """Whose a key is that works now."""
    found = (
        await connection.execute(
            text(
                "SELECT workspace_id, source_id, key_id, events_per_s, origins FROM write_key "
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
    )


_WRITE_KEY = "key_id, name, created_at, revoked_at"


async def add_write_key(
    connection: AsyncConnection, workspace: int, source_id: int, name: str, new: NewWriteKey
) -> WriteKey:
    """``source_id`` must be one of the workspace's."""
    row = await connection.execute(
        text(
            "INSERT INTO write_key (key_id, workspace_id, source_id, name, secret_hash) "
            f"VALUES (:id, :workspace, :source, :name, :secret_hash) RETURNING {_WRITE_KEY}"
        ),
        {
            "id": new.key_id,
            "workspace": workspace,
            "source": source_id,
            "name": name,
            "secret_hash": new.secret_hash,
        },
    )
    return _write_key(row.one())


async def write_keys(connection: AsyncConnection, workspace: int, source_id: int) -> list[WriteKey]:
    """Revoked ones too, oldest first."""
    rows = await connection.execute(
        text(
            f"SELECT {_WRITE_KEY} FROM write_key WHERE workspace_id = :workspace AND source_id = :source "
            "ORDER BY created_at, key_id"
        ),
        {"workspace": workspace, "source": source_id},
    )
    return [_write_key(row) for row in rows]


async def revoke_write_key(connection: AsyncConnection, workspace: int, source_id: int, key_id: str) -> WriteKey:
    """Revoked now, or still since earlier. Raises Refused 404."""
    row = (
        await connection.execute(
            text(
                "UPDATE write_key SET revoked_at = coalesce(revoked_at, now()) "
                f"WHERE workspace_id = :workspace AND source_id = :source AND key_id = :id RETURNING {_WRITE_KEY}"
            ),
            {"workspace": workspace, "source": source_id, "id": key_id},
        )
    ).one_or_none()
    if row is None:
        raise Refused(404, "unknown_write_key", f"The source has no write key {key_id}.")
    return _write_key(row)


def _write_key(row: Any) -> WriteKey:
    return WriteKey(id=row.key_id, name=row.name, created_at=row.created_at, revoked_at=row.revoked_at)
