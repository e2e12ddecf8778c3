"""Dirty rows: which account has news, about which user and day. Append-only; a table across workspaces."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from libs.common.db import AsyncConnection, text
from services.health.tally import Lane

ROWS_LOOKED_AT = 100_000
DAYS_AT_ONCE = 10_000
"""Days of users that one scoring rolls up at most; the account stays dirty with the rest."""
DAYS_OF_A_WHOLE_USER = 50
"""What rolling up every day of a user is taken to cost, in days."""


class DirtyKey(NamedTuple):
    """``user`` None: nothing to roll up, only to score. ``day`` None: every day of the user."""

    workspace: int
    account: str
    user: str | None
    day: date | None
    lane: Lane


class News(NamedTuple):
    """``until`` is the domain time of the latest fact, ``since`` the real time of the earliest request behind a row."""

    until: datetime
    since: datetime


@dataclass(frozen=True)
class Taken:
    """What one scoring takes: exactly these rows are deleted with it."""

    ids: tuple[int, ...]
    whole_users: frozenset[str]
    user_days: frozenset[tuple[str, date]]
    baseline: bool
    since: datetime | None
    live_sources: frozenset[int]

    @property
    def rolls_up(self) -> bool:
        return bool(self.whole_users or self.user_days)


async def add(connection: AsyncConnection, rows: Mapping[DirtyKey, News]) -> None:
    if not rows:
        return
    names = ("workspaces", "accounts", "users", "days", "lanes", "untils", "sinces")
    columns = zip(*((*key, *news) for key, news in rows.items()), strict=True)
    await connection.execute(
        text(
            "INSERT INTO dirty (workspace_id, account_id, user_key, day, lane, until, since) "
            "SELECT * FROM unnest(CAST(:workspaces AS bigint[]), CAST(:accounts AS text[]), CAST(:users AS text[]), "
            "CAST(:days AS date[]), CAST(:lanes AS text[]), CAST(:untils AS timestamptz[]), "
            "CAST(:sinces AS timestamptz[]))"
        ),
        {name: list(column) for name, column in zip(names, columns, strict=True)},
    )


async def look(connection: AsyncConnection, workspace: int, account: str, lane: Lane, as_of: datetime) -> Taken:
    """The account's dirty rows that are scored with ``lane`` and whose facts lie at or before ``as_of``; all of them,
    whatever the lane, when the baseline of a source is among them. With the sources that were live at that very
    moment."""
    row = (
        await connection.execute(
            text(
                """
                WITH waiting AS (
                    SELECT id, user_key, day, lane, since FROM dirty
                    WHERE workspace_id = :workspace AND account_id = :account AND until <= :as_of
                        AND (lane = ANY (CAST(:lanes AS text[])) OR EXISTS (
                            SELECT FROM dirty WHERE workspace_id = :workspace AND account_id = :account
                                AND lane = 'baseline'
                        ))
                    ORDER BY user_key IS NOT NULL, id LIMIT :rows
                ), pieces AS (
                    -- Who is rolled up whole needs no single day, so all rows of such a user are one piece of work.
                    SELECT *, CASE WHEN whole THEN NULL ELSE day END AS piece
                    FROM (SELECT *, bool_or(day IS NULL) OVER (PARTITION BY user_key) AS whole FROM waiting) AS w
                ), priced AS (
                    SELECT *, min(id) OVER same AS first, CASE WHEN id > min(id) OVER same THEN 0
                        WHEN whole THEN CAST(:whole_user AS int) ELSE 1 END AS days
                    FROM pieces WINDOW same AS (PARTITION BY user_key, piece)
                ), taken AS MATERIALIZED (
                    SELECT * FROM
                        (SELECT *, sum(days) OVER (ORDER BY user_key IS NOT NULL, first) AS together FROM priced) AS p
                    WHERE together <= :days
                )
                SELECT
                    coalesce(array_agg(id), '{}') AS ids,
                    coalesce(array_agg(DISTINCT user_key) FILTER (WHERE user_key IS NOT NULL AND day IS NULL), '{}')
                        AS whole_users,
                    (SELECT coalesce(array_agg(user_key ORDER BY user_key, day), '{}') FROM
                        (SELECT DISTINCT user_key, day FROM taken WHERE day IS NOT NULL) AS pairs) AS users,
                    (SELECT coalesce(array_agg(day ORDER BY user_key, day), '{}') FROM
                        (SELECT DISTINCT user_key, day FROM taken WHERE day IS NOT NULL) AS pairs) AS days,
                    coalesce(bool_or(lane = 'baseline'), false) AS baseline,
                    min(since) AS since,
                    (SELECT coalesce(array_agg(source), '{}') FROM source
                        WHERE workspace_id = :workspace AND live_since IS NOT NULL) AS live_sources
                FROM taken
                """
            ),
            {
                "workspace": workspace,
                "account": account,
                "lanes": list(lane.scored_with),
                "as_of": as_of,
                "rows": ROWS_LOOKED_AT,
                "days": DAYS_AT_ONCE,
                "whole_user": DAYS_OF_A_WHOLE_USER,
            },
        )
    ).one()
    whole_users = frozenset(row.whole_users)
    pairs = zip(row.users, row.days, strict=True)
    return Taken(
        ids=tuple(row.ids),
        whole_users=whole_users,
        user_days=frozenset((user, day) for user, day in pairs if user not in whole_users),
        baseline=row.baseline,
        since=row.since,
        live_sources=frozenset(row.live_sources),
    )


async def delete(connection: AsyncConnection, ids: Collection[int]) -> None:
    if ids:
        await connection.execute(
            text("DELETE FROM dirty WHERE id = ANY (CAST(:ids AS bigint[]))"), {"ids": sorted(ids)}
        )
