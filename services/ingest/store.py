"""Every query of ingest."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy.exc import IntegrityError

from libs.common.db import AsyncConnection, text
from libs.common.errors import Refused
from services.ingest.write_keys import KeyOwner, NewWriteKey


class SourceState(StrEnum):
    IMPORTING = "importing"  # its history is being sent: nothing of it raises anything
    LIVE = "live"


@dataclass(frozen=True, slots=True)
class Source:
    """``live_at`` is domain time."""

    id: int
    name: str
    state: SourceState
    created_at: datetime
    live_at: datetime | None


@dataclass(frozen=True, slots=True)
class WriteKey:
    """A key without its secret."""

    id: str
    name: str
    created_at: datetime
    revoked_at: datetime | None


async def owner_of_key(connection: AsyncConnection, secret_hash: bytes) -> KeyOwner | None:
    """Whose an unrevoked key is."""
    found = (
        await connection.execute(
            text(
                "SELECT workspace_id, source_id FROM write_key WHERE secret_hash = :secret_hash AND revoked_at IS NULL"
            ),
            {"secret_hash": secret_hash},
        )
    ).one_or_none()
    return KeyOwner(workspace=found.workspace_id, source=found.source_id) if found else None


_SOURCE = "source_id, name, state, created_at, live_at"
_WRITE_KEY = "key_id, name, created_at, revoked_at"


async def add_source(connection: AsyncConnection, workspace: int, name: str) -> Source:
    """A new source, importing. Raises Refused 409 when the workspace has one of this name."""
    try:
        row = await connection.execute(
            text(f"INSERT INTO source (workspace_id, name) VALUES (:workspace, :name) RETURNING {_SOURCE}"),
            {"workspace": workspace, "name": name},
        )
    except IntegrityError as exc:
        raise Refused(409, "source_exists", f"There is a source {name!r} already.") from exc
    return _source(row.one())


async def sources(connection: AsyncConnection, workspace: int) -> list[Source]:
    rows = await connection.execute(
        text(f"SELECT {_SOURCE} FROM source WHERE workspace_id = :workspace ORDER BY source_id"),
        {"workspace": workspace},
    )
    return [_source(row) for row in rows]


async def source(connection: AsyncConnection, workspace: int, source_id: int) -> Source:
    """Raises Refused 404."""
    row = await connection.execute(
        text(f"SELECT {_SOURCE} FROM source WHERE workspace_id = :workspace AND source_id = :source"),
        {"workspace": workspace, "source": source_id},
    )
    return _source(_found(row.one_or_none(), source_id))


async def mark_live(connection: AsyncConnection, workspace: int, source_id: int, at: datetime) -> Source:
    """Live from ``at`` on, or still since earlier. Raises Refused 404."""
    row = await connection.execute(
        text(
            "UPDATE source SET state = 'live', live_at = coalesce(live_at, :at) "
            f"WHERE workspace_id = :workspace AND source_id = :source RETURNING {_SOURCE}"
        ),
        {"workspace": workspace, "source": source_id, "at": at},
    )
    return _source(_found(row.one_or_none(), source_id))


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


def _found(row: Any, source_id: int) -> Any:
    if row is None:
        raise Refused(404, "unknown_source", f"There is no source {source_id}.")
    return row


def _source(row: Any) -> Source:
    return Source(
        id=row.source_id,
        name=row.name,
        state=SourceState(row.state),
        created_at=row.created_at,
        live_at=row.live_at,
    )


def _write_key(row: Any) -> WriteKey:
    return WriteKey(id=row.key_id, name=row.name, created_at=row.created_at, revoked_at=row.revoked_at)
