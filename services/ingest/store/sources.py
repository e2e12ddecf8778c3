"""Sources: the products that send."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy.exc import IntegrityError

from libs.common.db import AsyncConnection, text
from libs.common.errors import Refused


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


_SOURCE = "source_id, name, state, created_at, live_at"


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
