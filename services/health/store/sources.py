"""Sources and whether they are live."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from libs.common.db import AsyncConnection, text
from libs.common.events import SourceWentLive
from libs.common.topics import PARTITIONS

MARKS = 2 * PARTITIONS
"""One on every partition of both telemetry topics."""


async def mark(connection: AsyncConnection, marks: Iterable[SourceWentLive]) -> None:
    """Remember which partitions have been read up to the moment at which a source went live."""
    rows = sorted({(one.workspace, one.source, one.in_topic.value, one.in_partition) for one in marks})
    workspaces, sources, topics, partitions = (list(column) for column in zip(*rows, strict=True))
    given = {"workspaces": workspaces, "sources": sources, "topics": topics, "partitions": partitions}
    rows_given = (
        "unnest(CAST(:workspaces AS bigint[]), CAST(:sources AS bigint[]), CAST(:topics AS text[]), "
        "CAST(:partitions AS int[])) AS given (workspace_id, source, topic, partition)"
    )
    await connection.execute(
        text(
            "INSERT INTO source (workspace_id, source) "
            f"SELECT DISTINCT workspace_id, source FROM {rows_given} ORDER BY 1, 2 ON CONFLICT DO NOTHING"
        ),
        given,
    )
    await connection.execute(
        text(
            "INSERT INTO source_mark (workspace_id, source, topic, partition) "
            f"SELECT * FROM {rows_given} ORDER BY 1, 2, 3, 4 ON CONFLICT DO NOTHING"
        ),
        given,
    )


async def all_marks_are_read(connection: AsyncConnection, workspace: int, source: int) -> bool:
    found = await connection.execute(
        text("SELECT count(*) FROM source_mark WHERE workspace_id = :workspace AND source = :source"),
        {"workspace": workspace, "source": source},
    )
    return bool(found.scalar_one() >= MARKS)


async def go_live(connection: AsyncConnection, workspace: int, source: int, since: datetime) -> bool:
    """Take the source as live. True only the one time that this changes it."""
    changed = await connection.execute(
        text(
            "UPDATE source SET live_since = :since "
            "WHERE workspace_id = :workspace AND source = :source AND live_since IS NULL"
        ),
        {"workspace": workspace, "source": source, "since": since},
    )
    return bool(changed.rowcount)


async def accounts_of(connection: AsyncConnection, workspace: int, source: int) -> set[str]:
    """Every account that has facts of the source, those still waiting to be rolled up included."""
    rows = await connection.execute(
        text(
            "SELECT account_id FROM account_day WHERE workspace_id = :workspace AND source = :source "
            "UNION SELECT d.account_id FROM dirty d WHERE d.workspace_id = :workspace AND EXISTS ("
            "SELECT FROM usage u WHERE u.workspace_id = :workspace AND u.user_key = d.user_key AND u.source = :source)"
        ),
        {"workspace": workspace, "source": source},
    )
    return {row.account_id for row in rows}
