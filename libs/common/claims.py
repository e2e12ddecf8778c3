"""Claims: which events this service has taken already, remembered for as long as the event log can repeat them.

A ring of tables, one a day of real time, so that forgetting is TRUNCATE and never DELETE.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from sqlalchemy import text

from libs.common.db import AsyncConnection, Database
from libs.common.ddl import CLAIM_TABLES, CLAIM_WINDOW_DAYS
from libs.common.errors import NotStarted
from libs.common.ownership import lock_number

MIDNIGHT_OVERLAP = timedelta(minutes=10)
"""Two processes may see midnight at different moments; for this long both days' tables must be won."""


def _slot(day: date) -> int:
    return day.toordinal() % CLAIM_TABLES


async def prepare_claims(database: Database, today: date) -> None:
    """Empty the tables that today and tomorrow use, if they still hold other days. Idempotent; run it at start and
    every hour. Tomorrow's is emptied while nobody reads it: its old day has just left the window."""
    async with database.transaction() as connection:
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(:n)"), {"n": lock_number(f"{database.role} claims")}
        )
        rows = await connection.execute(text("SELECT slot, day FROM claim_day"))
        held = {row.slot: row.day for row in rows}
        if any(day > today + timedelta(days=1) for day in held.values()):
            raise NotStarted(
                f"Claims exist for days after {today + timedelta(days=1)}: the clock of this machine or of another one "
                "is wrong; set it right before starting."
            )
        for day in (today, today + timedelta(days=1)):
            if held.get(_slot(day)) != day:
                await connection.execute(text(f"TRUNCATE claim_{_slot(day)}"))
                await connection.execute(
                    text(
                        "INSERT INTO claim_day (slot, day) VALUES (:slot, :day) "
                        "ON CONFLICT (slot) DO UPDATE SET day = excluded.day"
                    ),
                    {"slot": _slot(day), "day": day},
                )


async def claim(connection: AsyncConnection, ids: Sequence[bytes], now: datetime) -> set[bytes]:
    """Those of ``ids`` (16 bytes each) that nobody had claimed within the window; they are ours if we commit.

    ``now`` is real time. Waits for a transaction that is claiming the same id.
    """
    today = now.date()
    must_win = [today]
    if now - now.replace(hour=0, minute=0, second=0, microsecond=0) < MIDNIGHT_OVERLAP:
        must_win.insert(0, today - timedelta(days=1))
    earlier = [today - timedelta(days=back) for back in range(1, CLAIM_WINDOW_DAYS + 1)]
    wanted = sorted({uuid.UUID(bytes=one) for one in ids})
    unseen = " ".join(
        f"AND NOT EXISTS (SELECT FROM claim_{_slot(day)} c WHERE c.id = wanted.id)"
        for day in earlier
        if day not in must_win
    )
    for day in must_win:
        rows = await connection.execute(
            text(
                f"INSERT INTO claim_{_slot(day)} (id) "
                f"SELECT wanted.id FROM unnest(CAST(:wanted AS uuid[])) AS wanted (id) WHERE true {unseen} "
                "ORDER BY wanted.id ON CONFLICT DO NOTHING RETURNING id"
            ),
            {"wanted": wanted},
        )
        wanted = sorted(row.id for row in rows)
    return {one.bytes for one in wanted}
