"""Requests: which user has news, written with the facts, taken by the router. A table across workspaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from libs.common.db import AsyncConnection, text
from services.health.tally import Lane, RequestKey, RequestKind


@dataclass(frozen=True)
class Request:
    """``until`` is the domain time of the latest fact behind it, ``since`` the real time at which it was written."""

    workspace: int
    kind: RequestKind
    user: str
    target: str
    day: date | None
    lane: Lane
    until: datetime
    since: datetime


async def add(connection: AsyncConnection, requests: Mapping[RequestKey, datetime]) -> None:
    """Ask for the accounts behind these users to be found and scored; the value is the latest fact."""
    if not requests:
        return
    rows = [(*key, until) for key, until in requests.items()]
    names = ("workspaces", "kinds", "users", "targets", "days", "lanes", "untils")
    await connection.execute(
        text(
            "INSERT INTO request (workspace_id, kind, user_key, target, day, lane, until) "
            "SELECT * FROM unnest(CAST(:workspaces AS bigint[]), CAST(:kinds AS text[]), CAST(:users AS text[]), "
            "CAST(:targets AS text[]), CAST(:days AS date[]), CAST(:lanes AS text[]), CAST(:untils AS timestamptz[]))"
        ),
        dict(zip(names, (list(column) for column in zip(*rows, strict=True)), strict=True)),
    )


async def take(connection: AsyncConnection, lane: Lane, most: int) -> list[Request]:
    """Take the oldest requests of a lane that nobody else is taking. They are gone if the transaction commits."""
    rows = await connection.execute(
        text(
            # As an array they are looked for once, whatever the planner takes the length of the queue to be.
            "DELETE FROM request WHERE id = ANY (ARRAY"
            "(SELECT id FROM request WHERE lane = :lane ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED)) "
            "RETURNING workspace_id, kind, user_key, target, day, lane, until, since"
        ),
        {"lane": lane, "most": most},
    )
    return [
        Request(
            workspace=row.workspace_id,
            kind=RequestKind(row.kind),
            user=row.user_key,
            target=row.target,
            day=row.day,
            lane=Lane(row.lane),
            until=row.until,
            since=row.since,
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Switch:
    """A source of which at least one mark has been read. ``last`` is the number of its latest request."""

    workspace: int
    source: int
    last: int
    until: datetime
    since: datetime


async def switches(connection: AsyncConnection) -> list[Switch]:
    """Sources on their way to live. Their requests stay until `settle_switch`."""
    rows = await connection.execute(
        text(
            "SELECT workspace_id, CAST(target AS bigint) AS source, max(id) AS last, max(until) AS until, "
            "min(since) AS since FROM request WHERE lane = 'baseline' GROUP BY workspace_id, target ORDER BY 1, 2"
        )
    )
    return [
        Switch(workspace=row.workspace_id, source=row.source, last=row.last, until=row.until, since=row.since)
        for row in rows
    ]


async def facts_are_on_their_way(connection: AsyncConnection, switch: Switch) -> bool:
    """Whether facts that were read before the switch still wait for a router, or for one to commit."""
    found = await connection.execute(
        text(
            "SELECT EXISTS (SELECT FROM request WHERE lane IN ('urgent', 'live', 'import') AND id < :last "
            "AND workspace_id = :workspace)"
        ),
        {"last": switch.last, "workspace": switch.workspace},
    )
    return bool(found.scalar_one())


async def settle_switch(connection: AsyncConnection, switch: Switch) -> None:
    await connection.execute(
        text("DELETE FROM request WHERE lane = 'baseline' AND workspace_id = :workspace AND target = :source"),
        {"workspace": switch.workspace, "source": str(switch.source)},
    )
