"""Everything that is known about one account as of a moment, in one statement and hence as of one snapshot."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import msgspec

from libs.common.db import AsyncConnection, text
from services.health.domain import (
    ACTIVE_DAYS_KEPT,
    AccountFacts,
    ActiveDay,
    DailyCount,
    HealthModel,
    Occurrence,
    Scalar,
    day_of,
    normalised,
)
from services.health.store.schedule import AccountKey

_OF_ACCOUNT = "t.workspace_id = :workspace AND t.account_id = :account"
_COUNTED = "t.source IN (SELECT source FROM counted)"

# A source that is still importing counts only while the account has no live one.
_LOAD = f"""
WITH sources AS MATERIALIZED (
    SELECT t.source, min(t.first_at) AS first_at, t.source = ANY (CAST(:live_sources AS bigint[])) AS live
    FROM account_day t WHERE {_OF_ACCOUNT} AND t.first_at <= :as_of GROUP BY t.source
), counted AS MATERIALIZED (
    SELECT source, first_at FROM sources WHERE live OR NOT EXISTS (SELECT FROM sources WHERE live)
)
SELECT
    (SELECT bool_or(live) FROM sources) AS live,
    (SELECT min(first_at) FROM counted) AS first_seen_at,
    CAST((SELECT jsonb_object_agg(name, value) FROM (
        SELECT DISTINCT ON (each.key) each.key AS name, each.value FROM (
            SELECT DISTINCT ON (t.digest) t.digest, t.traits,
                CASE WHEN t.last_at <= :as_of THEN t.last_at ELSE t.first_at END AS said_at
            FROM account_trait t WHERE {_OF_ACCOUNT} AND {_COUNTED} AND t.first_at <= :as_of
            ORDER BY t.digest, said_at DESC
        ) AS calls CROSS JOIN jsonb_each(calls.traits) AS each
        ORDER BY each.key, calls.said_at DESC, calls.digest DESC
    ) AS latest) AS text) AS traits,
    CAST((SELECT jsonb_agg(days) FROM (
        SELECT t.event_day AS day, t.event, sum(t.people_n) AS count, min(t.people_first_at) AS first_at,
            least(max(t.people_last_at), :as_of) AS last_at
        FROM account_day t
        WHERE {_OF_ACCOUNT} AND t.event_day BETWEEN :first_day AND :today AND {_COUNTED} AND t.people_first_at <= :as_of
        GROUP BY t.event_day, t.event
    ) AS days) AS text) AS counts,
    CAST((SELECT jsonb_agg(days) FROM (
        SELECT t.event_day AS day, min(t.first_at) AS first_at, least(max(t.last_at), :as_of) AS last_at
        FROM account_people t WHERE {_OF_ACCOUNT} AND t.event_day <= :today AND {_COUNTED} AND t.first_at <= :as_of
        GROUP BY t.event_day ORDER BY t.event_day DESC LIMIT {ACTIVE_DAYS_KEPT}
    ) AS days) AS text) AS active_days,
    CAST((SELECT jsonb_object_agg(days, people) FROM (
        SELECT days, (
            SELECT count(DISTINCT person) FROM account_people t CROSS JOIN unnest(t.people) AS person
            WHERE {_OF_ACCOUNT} AND {_COUNTED} AND t.event_day >= CAST(:today AS date) - days AND t.event_day < :today
        ) AS people FROM unnest(CAST(:windows AS int[])) AS days
    ) AS windows) AS text) AS active_people,
    CAST((SELECT jsonb_agg(found) FROM (
        SELECT t.event, t.at, t.message_id AS id, t.properties FROM account_occurrence t
        WHERE {_OF_ACCOUNT} AND {_COUNTED} AND t.event_day BETWEEN :first_day AND :today AND t.at <= :as_of
    ) AS found) AS text) AS occurrences
"""


async def load(
    connection: AsyncConnection, key: AccountKey, model: HealthModel, live_sources: Collection[int], as_of: datetime
) -> tuple[AccountFacts, bool]:
    """The facts that ``model`` needs, and whether any live source has said something about the account."""
    today = day_of(as_of)
    row = (
        await connection.execute(
            text(_LOAD),
            {
                **key._asdict(),
                "as_of": as_of,
                "today": today,
                "first_day": today - timedelta(days=model.days_of_history),
                "live_sources": sorted(live_sources),
                "windows": sorted(model.people_windows),
            },
        )
    ).one()
    traits = msgspec.json.decode(row.traits or "{}", type=dict[str, Scalar | None])
    facts = AccountFacts(
        account_id=key.account,
        first_seen_at=row.first_seen_at,
        traits=normalised({name: value for name, value in traits.items() if value is not None}),
        counts=msgspec.json.decode(row.counts or "[]", type=tuple[DailyCount, ...]),
        active_people=msgspec.json.decode(row.active_people or "{}", type=dict[int, int]),
        active_days=msgspec.json.decode(row.active_days or "[]", type=tuple[ActiveDay, ...]),
        occurrences=msgspec.json.decode(row.occurrences or "[]", type=tuple[Occurrence, ...]),
    )
    return facts, bool(row.live)
