"""Group calls and identity links: what is needed to say who some users are and where they belong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from libs.common.db import AsyncConnection, text
from services.health.domain import Call
from services.health.domain.membership import PEOPLE_PER_ID
from services.health.identities import Identities

# Forward to everybody whom the users have stood for, then back to every id of those that has ever named an account.
# An id with more people than PEOPLE_PER_ID is not followed beyond what shows that it has too many.
# OFFSET 0, here as elsewhere in the store, keeps a look-up for each row from being planned as a join, which reads the
# whole table: no planner knows how few rows a recursion has.
_LOAD = f"""
WITH RECURSIVE forward (user_key) AS (
    SELECT unnest(CAST(:users AS text[]))
  UNION
    SELECT followed.person_key FROM forward CROSS JOIN LATERAL (
        SELECT DISTINCT l.person_key FROM identity_link l
        WHERE l.workspace_id = :workspace AND l.user_key = forward.user_key
        ORDER BY l.person_key LIMIT {PEOPLE_PER_ID + 1}
    ) AS followed
), related (user_key) AS (
    SELECT user_key FROM forward
  UNION
    SELECT linked.user_key FROM related CROSS JOIN LATERAL (
        SELECT l.user_key FROM identity_link l
        WHERE l.workspace_id = :workspace AND l.person_key = related.user_key AND (l.user_key LIKE 'u:%' OR EXISTS (
            SELECT FROM group_call g WHERE g.workspace_id = :workspace AND g.user_key = l.user_key OFFSET 0
        )) OFFSET 0
    ) AS linked
)
SELECT true AS joins, related.user_key, called.* FROM related CROSS JOIN LATERAL (
    SELECT g.event_day, g.account_id AS target, min(g.first_at) AS first_at, max(g.last_at) AS last_at
    FROM group_call g WHERE g.workspace_id = :workspace AND g.user_key = related.user_key
    GROUP BY g.event_day, g.account_id
) AS called
UNION ALL
SELECT false, related.user_key, linked.* FROM related CROSS JOIN LATERAL (
    SELECT l.event_day, l.person_key, min(l.first_at), max(l.last_at) FROM identity_link l
    WHERE l.workspace_id = :workspace AND l.user_key = related.user_key AND l.person_key IN (
        SELECT DISTINCT p.person_key FROM identity_link p
        WHERE p.workspace_id = :workspace AND p.user_key = related.user_key
        ORDER BY p.person_key LIMIT {PEOPLE_PER_ID + 1}
    )
    GROUP BY l.event_day, l.person_key
) AS linked
"""


async def load(connection: AsyncConnection, workspace: int, users: Iterable[str]) -> Identities:
    """What says who ``users`` are and where they belong, on every day."""
    rows = await connection.execute(text(_LOAD), {"workspace": workspace, "users": sorted(set(users))})
    calls: dict[str, list[Call]] = defaultdict(list)
    links: dict[str, list[Call]] = defaultdict(list)
    for row in rows:
        call = Call(day=row.event_day, target=row.target, first_at=row.first_at, last_at=row.last_at)
        (calls if row.joins else links)[row.user_key].append(call)
    return Identities.of(calls, links)


async def ids_behind(
    connection: AsyncConnection, workspace: int, people: Iterable[tuple[str, str]]
) -> dict[str, set[str]]:
    """For pairs of a label and a user key: by label, the keys with usage that are or ever were one of those users."""
    rows = sorted(set(people))
    if not rows:
        return {}
    labels, users = zip(*rows, strict=True)
    found = await connection.execute(
        text(
            """
            WITH RECURSIVE behind (label, user_key) AS (
                SELECT * FROM unnest(CAST(:labels AS text[]), CAST(:users AS text[]))
              UNION
                SELECT behind.label, linked.user_key FROM behind CROSS JOIN LATERAL (
                    SELECT l.user_key FROM identity_link l
                    WHERE l.workspace_id = :workspace AND l.person_key = behind.user_key OFFSET 0
                ) AS linked
            )
            SELECT label, user_key FROM behind WHERE EXISTS (
                SELECT FROM usage u WHERE u.workspace_id = :workspace AND u.user_key = behind.user_key OFFSET 0
            )
            """
        ),
        {"workspace": workspace, "labels": list(labels), "users": list(users)},
    )
    behind: dict[str, set[str]] = defaultdict(set)
    for row in found:
        behind[row.label].add(row.user_key)
    return behind


async def accounts_holding(
    connection: AsyncConnection, workspace: int, users: Iterable[str], shared: Iterable[str]
) -> set[tuple[str, str]]:
    """(user key, account) of every account that the users' own events named; for ``shared`` keys, every account
    whose roll-up still holds them."""
    rows = await connection.execute(
        text(
            """
            SELECT given.user_key, held.account_id
            FROM unnest(CAST(:users AS text[])) AS given (user_key) CROSS JOIN LATERAL (
                SELECT u.account_id FROM usage u
                WHERE u.workspace_id = :workspace AND u.user_key = given.user_key AND u.account_id <> '' OFFSET 0
            ) AS held
          UNION
            SELECT given.user_key, held.account_id
            FROM unnest(CAST(:shared AS text[])) AS given (user_key) CROSS JOIN LATERAL (
                SELECT a.account_id FROM account_usage a
                WHERE a.workspace_id = :workspace AND a.user_key = given.user_key OFFSET 0
            ) AS held
            """
        ),
        {"workspace": workspace, "users": sorted(set(users)), "shared": sorted(set(shared))},
    )
    return {(row.user_key, row.account_id) for row in rows}
