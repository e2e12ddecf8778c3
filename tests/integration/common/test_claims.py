"""Claims over days: won once, also around midnight and under wrong clocks, and forgotten in time."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

import asyncpg
import pytest

from libs.common.claims import claim, prepare_claims, prepare_day
from libs.common.db import Database
from libs.common.ddl import CLAIM_TABLES, CLAIM_WINDOW_DAYS
from libs.common.errors import RetryLater
from libs.common.testing import eventually
from tests.integration.common.conftest import World

DAY = date(2026, 3, 2)
NOON = datetime.combine(DAY, time(12), UTC)
MIDNIGHT = datetime.combine(DAY + timedelta(days=1), time(0), UTC)
ID = b"\x01" * 16
OTHER = b"\x02" * 16


async def take(world: World, ids: Sequence[bytes], now: datetime) -> set[bytes]:
    async with world.worker.transaction() as connection:
        return await claim(connection, ids, now)


async def live_through(world: World, first: date, days: int) -> None:
    """What hourly housekeeping does over so many days."""
    for ahead in range(-1, days + 1):
        await prepare_day(world.worker, first + timedelta(days=ahead))


async def test_an_id_is_won_once(world: World) -> None:
    await live_through(world, DAY, 1)
    assert await take(world, [ID, OTHER, ID], NOON) == {ID, OTHER}
    assert await take(world, [ID], NOON) == set()
    assert await take(world, [], NOON) == set()


async def test_an_id_is_remembered_for_the_whole_window_and_then_forgotten(world: World) -> None:
    await live_through(world, DAY, 1)
    await take(world, [ID], NOON)
    for later in range(1, CLAIM_WINDOW_DAYS + 1):
        await prepare_day(world.worker, DAY + timedelta(days=later + 1))
        assert await take(world, [ID], NOON + timedelta(days=later)) == set(), f"{later} days later"
    await prepare_day(world.worker, DAY + timedelta(days=CLAIM_TABLES))
    assert await take(world, [ID], NOON + timedelta(days=CLAIM_TABLES - 1)) == {ID}


async def test_two_transactions_on_both_sides_of_midnight_cannot_both_win(world: World) -> None:
    """The earlier one is still open, so the later one cannot see its claim; it must run into it."""
    await live_through(world, DAY, 2)
    async with world.worker.transaction() as before:
        assert await claim(before, [ID, OTHER], MIDNIGHT - timedelta(seconds=1)) == {ID, OTHER}
        after = asyncio.create_task(take(world, [ID], MIDNIGHT + timedelta(seconds=1)))
        await eventually(lambda: somebody_waits(world), what="the later one waits")
    assert await after == set()


async def test_a_claim_that_was_rolled_back_can_be_won(world: World) -> None:
    await live_through(world, DAY, 2)
    async with world.worker.transaction() as before:
        assert await claim(before, [ID], MIDNIGHT - timedelta(seconds=1)) == {ID}
        await before.rollback()
    assert await take(world, [ID], MIDNIGHT + timedelta(seconds=1)) == {ID}


async def test_after_the_overlap_one_table_is_enough(world: World) -> None:
    await live_through(world, DAY, 2)
    assert await take(world, [ID], MIDNIGHT + timedelta(minutes=9)) == {ID}
    assert await take(world, [OTHER], MIDNIGHT + timedelta(minutes=11)) == {OTHER}
    held = {slot: await world.ask(f"SELECT count(*) FROM tally.claim_{slot}") for slot in range(CLAIM_TABLES)}
    assert sorted(held.values()) == [0] * (CLAIM_TABLES - 2) + [1, 2]


async def test_a_clock_that_steps_back_over_midnight_lets_nothing_in_twice(world: World) -> None:
    await live_through(world, DAY, 2)
    assert await take(world, [ID], MIDNIGHT + timedelta(minutes=30)) == {ID}
    assert await take(world, [ID], MIDNIGHT - timedelta(minutes=30)) == set()


async def test_a_day_without_a_table_is_refused_and_nothing_is_claimed(world: World) -> None:
    """A process that was suspended for days must not write into a table that is emptied next."""
    await live_through(world, DAY, 1)
    with pytest.raises(RetryLater, match="no claim table is ready for 2026-03-11"):
        await take(world, [ID], NOON + timedelta(days=CLAIM_TABLES))
    assert await take(world, [ID], NOON) == {ID}


async def test_a_clock_that_ran_ahead_costs_no_claim_of_its_time(world: World) -> None:
    """While the clock was a year ahead, ids were claimed in tables of that year; when it is right again, they stay."""
    wrong = DAY + timedelta(days=365)
    await live_through(world, DAY, 1)
    await live_through(world, wrong, 1)
    await take(world, [ID], datetime.combine(wrong, time(12), UTC))
    for later in range(CLAIM_WINDOW_DAYS):
        await live_through(world, DAY + timedelta(days=later), 1)
        assert await take(world, [ID], NOON + timedelta(days=later)) == set(), f"{later} days later"


async def test_the_database_and_this_machine_agree_what_day_it_is(world: World) -> None:
    await prepare_claims(world.worker)
    await prepare_claims(world.worker)
    days = await world.owner.fetch("SELECT day FROM tally.claim_day ORDER BY day")
    today = datetime.now(UTC).date()
    assert [row["day"] for row in days] == [today + timedelta(days=ahead) for ahead in (-1, 0, 1)]


async def test_a_database_clock_that_jumps_alone_is_not_believed(world: World) -> None:
    """A schema before pg_catalog in the search path gives this session another clock."""
    await prepare_claims(world.worker)
    await take(world, [ID], datetime.now(UTC))
    await world.owner.execute(
        "CREATE FUNCTION tally.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
        "$$ SELECT pg_catalog.clock_timestamp() + interval '9 days' $$"
    )
    jumped = Database(world.url, role="kizashi_tally_worker", schema="tally, pg_catalog")
    with pytest.raises(RetryLater, match="until both clocks are right"):
        await prepare_claims(jumped)
    await jumped.close()
    assert await take(world, [ID], datetime.now(UTC)) == set()


async def test_many_who_claim_the_same_ids_share_them_without_a_deadlock(world: World) -> None:
    await live_through(world, DAY, 1)
    ids = [os.urandom(16) for _ in range(300)]
    won = await asyncio.gather(*(take(world, ids[::step], NOON) for step in (1, -1, 1, -1)))
    assert sorted(one for ours in won for one in ours) == sorted(ids)


async def test_emptying_a_table_notes_which_letters_its_claims_settle(world: World) -> None:
    await live_through(world, DAY, 1)
    await take(world, [ID], NOON)
    for n, claimed in enumerate((ID, OTHER)):
        await world.owner.execute(
            "INSERT INTO tally.dead_letter (id, topic, partition, log_offset, reason, detail, key, value, headers, "
            "claim) VALUES ($1, 'telemetry', 0, $2, 'r', 'd', '', '', '{}', $3)",
            uuid.uuid4(),
            n,
            uuid.UUID(bytes=claimed),
        )
    await prepare_day(world.worker, DAY + timedelta(days=CLAIM_TABLES))
    letters = await world.letters()
    assert [letter["settled_at"] is not None for letter in letters] == [True, False]


async def test_the_worker_owns_no_claim_table_and_empties_it_all_the_same(world: World) -> None:
    owners = await world.owner.fetch(
        "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'tally' AND tablename LIKE 'claim%'"
    )
    assert [row["tableowner"] for row in owners] == ["postgres"]
    await live_through(world, DAY, 1)
    await live_through(world, DAY + timedelta(days=CLAIM_TABLES), 1)


async def somebody_waits(world: World) -> bool:
    watcher: asyncpg.Connection = world.owner
    return bool(await watcher.fetchval("SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')"))
