"""The roll-up of facts into accounts: again, from the facts, for exactly the users and days that dirty rows name.

Three layers: account_usage keeps users apart, account_day and account_people add them up, so that a score of a large
account does not read its users. Called by the score worker, which holds the account's schedule row. What OFFSET 0 is
for, `identities` says.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from libs.common.db import AsyncConnection, text
from services.health import keys
from services.health.domain import Activity
from services.health.identities import UserDay
from services.health.store import identities
from services.health.store.dirty import Taken
from services.health.store.schedule import AccountKey

_OF_ACCOUNT = "t.workspace_id = :workspace AND t.account_id = :account"
_ON_DAYS = "t.event_day = ANY (CAST(:days AS date[]))"
_USER_DAYS = "unnest(CAST(:users AS text[]), CAST(:days AS date[])) AS named (user_key, day)"


async def roll_up(connection: AsyncConnection, key: AccountKey, taken: Taken) -> set[date]:
    """Bring account_usage and account_occurrence up to the facts. The answer is the days that may have changed."""
    users, days = _columns(sorted(taken.user_days), 2)
    named: dict[str, Any] = {
        **key._asdict(),
        "whole_users": sorted(taken.whole_users),
        "users": users,
        "days": days,
    }
    touched = await _forget(connection, named)
    places = await _places(connection, named)
    everybody = await identities.load(connection, key.workspace, {place.user for place in places})
    ours = [
        (place, everybody.person(place.user, place.day))
        for place, account in zip(places, everybody.accounts(places), strict=True)
        if account == key.account
    ]
    await _take_in(connection, key, ours)
    return touched | {place.day for place, _ in ours}


async def _forget(connection: AsyncConnection, named: dict[str, Any]) -> set[date]:
    rows = await connection.execute(
        text(
            f"""
            WITH whole AS (
                DELETE FROM account_usage t
                WHERE {_OF_ACCOUNT} AND t.user_key = ANY (CAST(:whole_users AS text[])) RETURNING t.event_day
            ), single AS (
                DELETE FROM account_usage t USING {_USER_DAYS}
                WHERE {_OF_ACCOUNT} AND t.user_key = named.user_key AND t.event_day = named.day RETURNING t.event_day
            ), whole_occurrences AS (
                DELETE FROM account_occurrence t
                WHERE {_OF_ACCOUNT} AND t.user_key = ANY (CAST(:whole_users AS text[]))
            ), single_occurrences AS (
                DELETE FROM account_occurrence t USING {_USER_DAYS}
                WHERE {_OF_ACCOUNT} AND t.user_key = named.user_key AND t.event_day = named.day
            )
            SELECT event_day FROM whole UNION SELECT event_day FROM single
            """
        ),
        named,
    )
    return {row.event_day for row in rows}


async def _places(connection: AsyncConnection, named: dict[str, Any]) -> list[UserDay]:
    """Which of the named users and days have facts that may be the account's: those that name it or no account."""
    rows = await connection.execute(
        text(
            f"""
            SELECT found.* FROM unnest(CAST(:whole_users AS text[])) AS named (user_key) CROSS JOIN LATERAL (
                SELECT DISTINCT u.user_key, u.event_day, u.account_id FROM usage u
                WHERE u.workspace_id = :workspace AND u.user_key = named.user_key AND u.account_id IN ('', :account)
            ) AS found
            UNION ALL
            SELECT found.* FROM {_USER_DAYS} CROSS JOIN LATERAL (
                SELECT DISTINCT u.user_key, u.event_day, u.account_id FROM usage u
                WHERE u.workspace_id = :workspace AND u.user_key = named.user_key AND u.event_day = named.day
                    AND u.account_id IN ('', :account)
            ) AS found
            """
        ),
        named,
    )
    return [UserDay(row.user_key, row.event_day, row.account_id or None) for row in rows]


async def _take_in(connection: AsyncConnection, key: AccountKey, ours: Sequence[tuple[UserDay, str]]) -> None:
    if not ours:
        return
    await connection.execute(
        text(
            """
            WITH ours AS MATERIALIZED (
                SELECT * FROM unnest(CAST(:users AS text[]), CAST(:days AS date[]), CAST(:named AS text[]),
                    CAST(:people AS text[])) AS rows (user_key, day, named, person)
            ), occurrences AS (
                INSERT INTO account_occurrence
                    (workspace_id, account_id, event_day, user_key, source, message_id, event, at, properties)
                SELECT :workspace, :account, o.event_day, o.user_key, o.source, o.message_id, o.event, o.at,
                    o.properties
                FROM ours CROSS JOIN LATERAL (
                    SELECT * FROM occurrence WHERE workspace_id = :workspace AND user_key = ours.user_key
                        AND event_day = ours.day AND account_id = ours.named OFFSET 0
                ) AS o
            )
            INSERT INTO account_usage
                (workspace_id, account_id, event_day, user_key, event, source, person, n, first_at, last_at)
            SELECT :workspace, :account, u.event_day, u.user_key, u.event, u.source, ours.person, sum(u.n),
                min(u.first_at), max(u.last_at)
            FROM ours CROSS JOIN LATERAL (
                SELECT * FROM usage WHERE workspace_id = :workspace AND user_key = ours.user_key
                    AND event_day = ours.day AND account_id = ours.named OFFSET 0
            ) AS u
            GROUP BY u.event_day, u.user_key, u.event, u.source, ours.person
            """
        ),
        {
            **key._asdict(),
            "users": [place.user for place, _ in ours],
            "days": [place.day for place, _ in ours],
            "named": [place.account or "" for place, _ in ours],
            "people": [person for _, person in ours],
        },
    )


async def add_up(connection: AsyncConnection, key: AccountKey, days: Collection[date], activity: Activity) -> None:
    """Bring account_day and account_people of these days up to account_usage."""
    if not days:
        return
    named = {**key._asdict(), "days": sorted(days)}
    others = await _people_who_do_not_count(connection, named, activity)
    await connection.execute(
        text(
            f"WITH days AS (DELETE FROM account_day t WHERE {_OF_ACCOUNT} AND {_ON_DAYS}) "
            f"DELETE FROM account_people t WHERE {_OF_ACCOUNT} AND {_ON_DAYS}"
        ),
        named,
    )
    await connection.execute(
        text(
            f"""
            WITH used AS MATERIALIZED (
                SELECT t.*, t.user_key <> '{keys.NOBODY}' AND t.person <> ALL (CAST(:others AS text[])) AS counts
                FROM account_usage t WHERE {_OF_ACCOUNT} AND {_ON_DAYS}
            ), people AS (
                INSERT INTO account_people (workspace_id, account_id, event_day, source, people, first_at, last_at)
                SELECT :workspace, :account, event_day, source, array_agg(DISTINCT person), min(first_at), max(last_at)
                FROM used WHERE counts AND event <> ALL (CAST(:excluded_events AS text[]))
                GROUP BY event_day, source
            )
            INSERT INTO account_day (workspace_id, account_id, event_day, event, source, n, first_at,
                people_n, people_first_at, people_last_at)
            SELECT :workspace, :account, event_day, event, source, sum(n), min(first_at),
                coalesce(sum(n) FILTER (WHERE counts), 0), min(first_at) FILTER (WHERE counts),
                max(last_at) FILTER (WHERE counts)
            FROM used GROUP BY event_day, event, source
            """
        ),
        {**named, "others": others, "excluded_events": list(activity.exclude_events)},
    )


async def _people_who_do_not_count(connection: AsyncConnection, named: dict[str, Any], activity: Activity) -> list[str]:
    """Our own people and robots among those of these days. Whoever ever gave one of our addresses is one of us."""
    if not (activity.exclude_people or activity.exclude_email_domains):
        return []
    rows = await connection.execute(
        text(
            f"""
            SELECT people.person, e.email FROM (
                SELECT DISTINCT t.person FROM account_usage t
                WHERE {_OF_ACCOUNT} AND {_ON_DAYS} AND t.person <> '{keys.NOBODY}'
            ) AS people LEFT JOIN LATERAL (
                SELECT email FROM user_email WHERE workspace_id = :workspace AND user_key = people.person OFFSET 0
            ) AS e ON true
            """
        ),
        named,
    )
    return sorted({row.person for row in rows if not activity.person_counts(keys.original_id(row.person), row.email)})


async def every_day(connection: AsyncConnection, key: AccountKey) -> set[date]:
    """All days of the account's roll-up, for when the rules of what counts have changed."""
    rows = await connection.execute(
        text(f"SELECT DISTINCT t.event_day FROM account_usage t WHERE {_OF_ACCOUNT}"), key._asdict()
    )
    return {row.event_day for row in rows}


def _columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
