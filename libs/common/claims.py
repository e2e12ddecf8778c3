"""Claims: which events this service has taken already, remembered for as long as the event log can repeat them.

A ring of tables, one a day, so that forgetting is TRUNCATE and never DELETE (and never DROP, which a role that owns
nothing may not do). The day is that of PostgreSQL's clock, the one clock that all processes share.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from libs.common.clock import wall_now
from libs.common.db import AsyncConnection, Database, text
from libs.common.ddl import CLAIM_TABLES
from libs.common.errors import RetryLater
from libs.common.ownership import lock_number

MIDNIGHT_OVERLAP = timedelta(minutes=10)
"""For so long after midnight an id must be won in both days' tables: a transaction that chose its table before midnight
may still be open and is invisible to an anti-join. No transaction lives nearly so long (see db)."""
ID_BYTES = 16


def _slot(day: date) -> int:
    return day.toordinal() % CLAIM_TABLES


async def claim(connection: AsyncConnection, ids: Sequence[bytes], now: datetime) -> set[bytes]:
    """Those of ``ids`` (16 bytes each) that nobody has claimed within the window; they are ours if we commit.

    ``now`` is the database's clock. Waits for a transaction that is claiming the same id.
    Raises RetryLater when no table is ready for the day; ``prepare_claims`` makes one.
    """
    now = now.astimezone(UTC)
    must_win = sorted({(now - MIDNIGHT_OVERLAP).date(), now.date()})
    # All the other tables, later days included: so a clock that steps back lets nothing in a second time. Each id is
    # looked up in each: without OFFSET the planner may read a table of the ring whole, for five hundred ids.
    others = sorted(set(range(CLAIM_TABLES)) - {_slot(day) for day in must_win})
    unseen = " ".join(f"AND NOT EXISTS (SELECT FROM claim_{slot} c WHERE c.id = wanted.id OFFSET 0)" for slot in others)
    # As text, and back in one piece: a UUID object for each made this a seventh of a consumer's CPU time.
    wanted = sorted(set(ids))
    for day in must_win:
        if not wanted:
            break
        won, held = (
            await connection.execute(
                text(
                    f"WITH won AS (INSERT INTO claim_{_slot(day)} (id) "
                    f"SELECT wanted.id FROM unnest(CAST(:wanted AS uuid[])) AS wanted (id) WHERE true {unseen} "
                    "ORDER BY wanted.id ON CONFLICT DO NOTHING RETURNING id) "
                    "SELECT coalesce(string_agg(uuid_send(id), ''), ''), "
                    "(SELECT day FROM claim_day WHERE slot = :slot) FROM won"
                ),
                {"wanted": [one.hex() for one in wanted], "slot": _slot(day)},
            )
        ).one()
        if won and held != day:
            raise RetryLater(f"no claim table is ready for {day}; slot {_slot(day)} is for {held}")
        wanted = sorted(won[n : n + ID_BYTES] for n in range(0, len(won), ID_BYTES))
    return set(wanted)


async def prepare_claims(database: Database) -> None:
    """Make tables ready for yesterday, today and tomorrow. Idempotent; run it at start and every hour.

    Raises RetryLater when the clocks of this machine and of PostgreSQL disagree: one of them has jumped, and to believe
    a clock that jumped ahead would be to forget what is still needed.
    """
    async with database.transaction() as connection:
        now: datetime = (await connection.execute(text("SELECT clock_timestamp()"))).scalar_one()
    if abs(now - wall_now()) > MIDNIGHT_OVERLAP:
        raise RetryLater(
            f"PostgreSQL says it is {now:%Y-%m-%d %H:%M} and this machine {wall_now():%Y-%m-%d %H:%M} (UTC); claims "
            "stay as they are until both clocks are right"
        )
    today = now.astimezone(UTC).date()
    for day in (today - timedelta(days=1), today, today + timedelta(days=1)):
        await prepare_day(database, day)


async def prepare_day(database: Database, day: date) -> None:
    """Make the table of ``day`` ready: forget what it holds of nine days ago, but first note which dead letters that
    settles, since a letter may be replayed after its claim is gone.

    One transaction per table: emptying waits for every open claim, and waiting for two at once could deadlock.
    """
    slot = _slot(day)
    async with database.transaction() as connection:
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(:n)"), {"n": lock_number(f"{database.role} claims")}
        )
        held: date | None = (
            await connection.execute(text("SELECT day FROM claim_day WHERE slot = :slot"), {"slot": slot})
        ).scalar_one_or_none()
        if held == day:
            return
        if held is None or held < day:
            # A few letters look into a table of millions, each by its own claim.
            await connection.execute(
                text(
                    "UPDATE dead_letter SET settled_at = now() WHERE settled_at IS NULL "
                    f"AND EXISTS (SELECT FROM claim_{slot} c WHERE c.id = dead_letter.claim OFFSET 0)"
                )
            )
            await connection.execute(text(f"TRUNCATE claim_{slot}"))
        # Else a clock that ran ahead has used this table. What it holds may still be needed: keep it a round longer.
        await connection.execute(
            text(
                "INSERT INTO claim_day (slot, day) VALUES (:slot, :day) "
                "ON CONFLICT (slot) DO UPDATE SET day = excluded.day"
            ),
            {"slot": slot, "day": day},
        )
