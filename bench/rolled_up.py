"""A past that health has rolled up already: tables filled as its own roll-up would have left them, in seconds."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import asyncpg

from bench.fill import EVENT_NAMES, PEOPLE_PER_ACCOUNT
from services.ingest.bootstrap import Installed

EVENTS_PER_DAY = 4


async def roll_up_days(
    owner: asyncpg.Connection, keys: Installed, accounts: int, last: date, days: int, due_at: datetime
) -> None:
    """``accounts`` accounts of a live source, all of whose people used four features on each of ``days`` days up to
    ``last``, and whose licensed seats are known. None was scored yet; all are due at ``due_at`` (domain time)."""
    given = (keys.workspace, keys.source, accounts, last, days)
    every_day = (
        "FROM generate_series(0, $3::int - 1) AS account, generate_series(0, $5::int - 1) AS ago, "
        "LATERAL (SELECT $4::date - ago AS day, ($4::date - ago)::timestamp AT TIME ZONE 'UTC' AS midnight) AS its"
    )
    first_and_last = "midnight + interval '9 hours', midnight + interval '17 hours'"
    await owner.execute(
        "INSERT INTO health.source (workspace_id, source, live_since) VALUES ($1, $2, now())", *given[:2]
    )
    await owner.execute(
        "INSERT INTO health.account_day (workspace_id, account_id, event_day, event, source, n, first_at, people_n, "
        "people_first_at, people_last_at) "
        f"SELECT $1, 'account-' || account, day, event, $2, $6, midnight + interval '9 hours', $6, {first_and_last} "
        f"{every_day}, unnest($7::text[]) AS event ORDER BY 2, 3, 4",
        *given,
        PEOPLE_PER_ACCOUNT,
        list(EVENT_NAMES[:EVENTS_PER_DAY]),
    )
    await owner.execute(
        "INSERT INTO health.account_people (workspace_id, account_id, event_day, source, people, first_at, last_at) "
        "SELECT $1, 'account-' || account, day, $2, "
        "(SELECT array_agg('u:person-' || account || '-' || n ORDER BY n) FROM generate_series(0, $6::int - 1) AS n), "
        f"{first_and_last} {every_day} ORDER BY 2, 3",
        *given,
        PEOPLE_PER_ACCOUNT,
    )
    await owner.execute(
        "INSERT INTO health.account_trait (workspace_id, account_id, source, digest, event_day, arrival_day, traits, "
        "first_at, last_at) SELECT $1, 'account-' || account, $2, uuid_send(gen_random_uuid()), first, first, "
        "jsonb_build_object('seats', $5::int), first, first "
        "FROM generate_series(0, $3::int - 1) AS account, CAST($4 AS date) AS first",
        keys.workspace,
        keys.source,
        accounts,
        last - timedelta(days=days - 1),
        PEOPLE_PER_ACCOUNT,
    )
    await owner.execute(
        "INSERT INTO health.schedule (workspace_id, account_id, due_at) "
        "SELECT $1, 'account-' || account, $3 FROM generate_series(0, $2::int - 1) AS account",
        keys.workspace,
        accounts,
        due_at,
    )
    await owner.execute("ANALYZE")
    await owner.execute("CHECKPOINT")
