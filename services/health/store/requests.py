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
            "DELETE FROM request WHERE id IN "
            "(SELECT id FROM request WHERE lane = :lane ORDER BY id LIMIT :most FOR UPDATE SKIP LOCKED) "
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
