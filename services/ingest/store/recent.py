"""What was taken and refused lately: the last of each source, whichever process took it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import msgspec

from libs.common.db import AsyncConnection, text
from libs.common.ownership import lock_number
from services.ingest.domain.recent import KEPT, KEPT_DAYS, RecentEvent, RecentReject

R = TypeVar("R", RecentEvent, RecentReject)

_WRITERS = lock_number("ingest recent")
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "recent_event": {
        "workspace_id": "bigint",
        "source_id": "bigint",
        "key_id": "text",
        "noted_at": "timestamptz",
        "received_at": "timestamptz",
        "occurred_at": "timestamptz",
        "message_id": "text",
        "message_id_sent": "boolean",
        "kind": "text",
        "event": "text",
        "user_id": "text",
        "anonymous_id": "text",
        "account_id": "text",
        "account_rule": "text",
        "flags": "text[]",
        "historical": "boolean",
        "strict": "boolean",
    },
    "recent_reject": {
        "workspace_id": "bigint",
        "source_id": "bigint",
        "key_id": "text",
        "noted_at": "timestamptz",
        "received_at": "timestamptz",
        "status": "int",
        "code": "text",
        "message": "text",
        "times": "int",
        "index": "int",
        "message_id": "text",
        "original": "text",
        "original_bytes": "int",
        "historical": "boolean",
        "strict": "boolean",
    },
}


async def write(connection: AsyncConnection, events: Sequence[RecentEvent], rejects: Sequence[RecentReject]) -> None:
    """Add rows and let go of what lies beyond the last of each source. The transaction must see their workspaces.

    One process at a time: so a number that is seen is followed by greater ones alone, and nobody deadlocks.
    """
    await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _WRITERS})
    rows: Sequence[RecentEvent] | Sequence[RecentReject]
    for table, rows in (("recent_event", events), ("recent_reject", rejects)):
        if not rows:
            continue
        places = sorted({(row.workspace_id, row.source_id) for row in rows})
        await connection.execute(text(_insert(table, COLUMNS[table])), {"rows": msgspec.json.encode(rows).decode()})
        await connection.execute(
            text(_PRUNE.format(table=table)),
            {"workspaces": [place[0] for place in places], "sources": [place[1] for place in places]},
        )


def _insert(table: str, columns: Mapping[str, str]) -> str:
    """All rows as one JSON text: a thousand of them cost a few milliseconds, and one parameter."""
    read = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    values = ", ".join("decode(original, 'base64')" if name == "original" else name for name in columns)
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) "
        f"SELECT {values} FROM json_to_recordset(CAST(:rows AS json)) AS r ({read})"
    )


# Each source's own rows are looked up, however many other sources there are, and named by where they lie: nobody else
# writes meanwhile.
_PRUNE = f"""
DELETE FROM {{table}} WHERE ctid = ANY (ARRAY(
    SELECT old.ctid
    FROM unnest(CAST(:workspaces AS bigint[]), CAST(:sources AS bigint[])) AS s (workspace_id, source_id)
    CROSS JOIN LATERAL (
        SELECT t.ctid FROM {{table}} AS t WHERE t.workspace_id = s.workspace_id AND t.source_id = s.source_id
        ORDER BY t.noted_at DESC, t.number DESC OFFSET {KEPT}
    ) AS old
))
"""


async def workspaces(connection: AsyncConnection) -> Collection[int]:
    """All that can have rows here."""
    rows = await connection.execute(text("SELECT DISTINCT workspace_id FROM write_key"))
    return [row.workspace_id for row in rows]


async def forget(connection: AsyncConnection) -> None:
    """Delete what is older than KEPT_DAYS, in the workspaces that the transaction sees."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _WRITERS})
    for table in COLUMNS:
        await connection.execute(text(f"DELETE FROM {table} WHERE noted_at < now() - {_KEPT}"))


_KEPT = f"interval '{KEPT_DAYS} days'"


@dataclass(frozen=True, slots=True)
class Numbered(Generic[R]):
    """A row with its number; of two, the one that was written later has the greater."""

    number: int
    row: R


async def events(
    connection: AsyncConnection, workspace: int, source_id: int, *, after: int = 0, most: int = KEPT
) -> list[Numbered[RecentEvent]]:
    """Those with a number above ``after``, newest first."""
    return await _newest(connection, "recent_event", RecentEvent, workspace, source_id, after, most)


async def rejects(
    connection: AsyncConnection, workspace: int, source_id: int, *, after: int = 0, most: int = KEPT
) -> list[Numbered[RecentReject]]:
    return await _newest(connection, "recent_reject", RecentReject, workspace, source_id, after, most)


async def _newest(
    connection: AsyncConnection, table: str, kind: type[R], workspace: int, source_id: int, after: int, most: int
) -> list[Numbered[R]]:
    """An ``after`` that no number has reached is of a time before a crash of PostgreSQL, when they began anew."""
    columns = COLUMNS[table]
    found = await connection.execute(
        text(
            f"""
            WITH newest AS (
                SELECT max(number) AS number FROM {table} WHERE workspace_id = :workspace AND source_id = :source
            )
            SELECT t.number AS place, {", ".join(columns)} FROM {table} AS t CROSS JOIN newest
            WHERE workspace_id = :workspace AND source_id = :source AND noted_at >= now() - {_KEPT}
              AND t.number > CASE WHEN :after <= newest.number THEN CAST(:after AS bigint) ELSE 0 END
            ORDER BY noted_at DESC, t.number DESC LIMIT :most
            """
        ),
        {"workspace": workspace, "source": source_id, "after": after, "most": most},
    )
    return [Numbered(row.place, kind(**{name: getattr(row, name) for name in columns})) for row in found]
