"""What the HTTP API shows: read only, one workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.common.db import AsyncConnection, text
from libs.common.received import BREAKER_LIMIT
from libs.common.topics import Topic


@dataclass(frozen=True)
class AccountFilter:
    """What a list is narrowed to. Scores are points from 0 to 100, both ends included."""

    band: str | None = None
    segment: str | None = None
    stage: str | None = None
    score_from: float | None = None
    score_to: float | None = None


async def accounts_page(
    connection: AsyncConnection, workspace: int, wanted: AccountFilter, after: str | None, most: int
) -> Sequence[Any]:
    """In the order of their ids."""
    conditions = {
        "band": "band = :band",
        "segment": "segment = :segment",
        "stage": "stage = :stage",
        "score_from": "score >= :score_from",
        "score_to": "score <= :score_to",
        "after": "account_id > :after",
    }
    given = {name: value for name, value in (*vars(wanted).items(), ("after", after)) if value is not None}
    where = " AND ".join(["workspace_id = :workspace", *(conditions[name] for name in given)])
    rows = await connection.execute(
        text(
            "SELECT account_id, name, segment, stage, arr, owner, band, score, silent_since, last_activity_at, as_of "
            f"FROM account WHERE {where} ORDER BY account_id LIMIT :most"
        ),
        {**given, "workspace": workspace, "most": most},
    )
    return rows.all()


async def account(connection: AsyncConnection, workspace: int, account_id: str) -> Any | None:
    return (
        await connection.execute(
            text(
                "SELECT account_id, name, segment, stage, arr, owner, contact_email, contact_name, renewal_date, band, "
                "score, silent_since, last_activity_at, as_of, scored_at, trend, version, "
                "CAST(scorecard AS text) AS scorecard, CAST(standing AS text) AS standing "
                "FROM account WHERE workspace_id = :workspace AND account_id = :account"
            ),
            {"workspace": workspace, "account": account_id},
        )
    ).one_or_none()


async def usage_of(connection: AsyncConnection, workspace: int, account_id: str) -> Sequence[Any]:
    """Every call that belongs to the account, by day and event."""
    rows = await connection.execute(
        text(
            "SELECT event_day, event, CAST(sum(n) AS bigint) AS calls FROM account_day "
            "WHERE workspace_id = :workspace AND account_id = :account GROUP BY event_day, event ORDER BY 1, 2"
        ),
        {"workspace": workspace, "account": account_id},
    )
    return rows.all()


@dataclass(frozen=True)
class Waiting:
    requests: int
    dirty: int
    due: int


async def waiting(connection: AsyncConnection, workspace: int, as_of: datetime | None) -> Waiting:
    """What is on its way to a score. Queues know no policy, so the workspace is asked for by name."""
    row = (
        await connection.execute(
            text(
                "SELECT (SELECT count(*) FROM request WHERE workspace_id = :workspace) AS requests, "
                "(SELECT count(*) FROM dirty WHERE workspace_id = :workspace) AS dirty, "
                "(SELECT count(*) FROM schedule WHERE workspace_id = :workspace AND due_at <= :as_of) AS due"
            ),
            {"workspace": workspace, "as_of": as_of},
        )
    ).one()
    return Waiting(requests=row.requests, dirty=row.dirty, due=row.due)


async def sources(connection: AsyncConnection, workspace: int) -> Sequence[Any]:
    rows = await connection.execute(
        text("SELECT source, live_since FROM source WHERE workspace_id = :workspace ORDER BY source"),
        {"workspace": workspace},
    )
    return rows.all()


async def usage_totals(connection: AsyncConnection, workspace: int) -> tuple[int, int]:
    """How many calls were applied, and how many of them are in some account's roll-up."""
    row = (
        await connection.execute(
            text(
                "SELECT CAST(coalesce((SELECT sum(n) FROM usage WHERE workspace_id = :workspace), 0) AS bigint), "
                "CAST(coalesce((SELECT sum(n) FROM account_day WHERE workspace_id = :workspace), 0) AS bigint)"
            ),
            {"workspace": workspace},
        )
    ).one()
    return int(row[0]), int(row[1])


async def caught_up_to(connection: AsyncConnection) -> datetime | None:
    """The lowest domain time up to which a telemetry partition has been read, None while one has not begun."""
    row = (
        await connection.execute(
            text(
                "SELECT min(caught_up_to) AS reached, bool_or(caught_up_to IS NULL) AS some_unknown "
                "FROM consumer_position WHERE topic = ANY (CAST(:topics AS text[]))"
            ),
            {"topics": [Topic.TELEMETRY.value, Topic.TELEMETRY_IMPORT.value]},
        )
    ).one()
    return None if row.some_unknown else row.reached


async def stopped_partitions(connection: AsyncConnection) -> list[str]:
    """Partitions that stand still, by the breaker or because records are lost: topic/number."""
    rows = await connection.execute(
        text(
            "SELECT topic, partition FROM consumer_position WHERE refused_in_a_row >= :limit OR lost IS NOT NULL "
            "ORDER BY topic, partition"
        ),
        {"limit": BREAKER_LIMIT},
    )
    return [f"{row.topic}/{row.partition}" for row in rows]
