"""What a service does for one event, one letter or one partition reads few rows, however much has piled up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from libs.common import outbox
from libs.common.burial import forget_old
from libs.common.claims import claim, prepare_claims, prepare_day
from libs.common.db import Database
from libs.common.ddl import CLAIM_TABLES
from libs.common.event_log import TopicPartition
from libs.common.event_log_open import event_log
from libs.common.outbox import Relay
from libs.common.outbox_window import Floor, age_of_oldest, oldest
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.conftest import TestDatabase
from tests.integration.common import desk, tally
from tests.integration.common.scripted_log import ScriptedLog
from tests.rows_read import prepare_statistics, reads_at_most

MUCH = 30_000
TIMES = 10
"""More than PostgreSQL needs to plan a statement once for all."""


@pytest.fixture
async def owner(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_url)
    await tally.make_service(connection, "tally")
    yield connection
    await connection.close()


def _slots_of_other_days() -> list[int]:
    """The tables of the ring that nobody writes into today, whatever the hour."""
    today = datetime.now(UTC).date().toordinal()
    return [slot for slot in range(CLAIM_TABLES) if (slot - today) % CLAIM_TABLES not in (0, 1, CLAIM_TABLES - 1)]


async def _fill_outbox(owner: asyncpg.Connection, partition: int, rows: int = MUCH) -> None:
    await owner.execute(
        "INSERT INTO tally.outbox (topic, partition, key, value) "
        f"SELECT 'touches', {partition}, '1:a', '{{}}' FROM generate_series(1, {rows})"
    )


async def _add_letters(owner: asyncpg.Connection, letters: int, *, workspace: int | None = 1, days: int = 1) -> None:
    """So many days old, each with a claim."""
    await owner.execute(
        "INSERT INTO tally.dead_letter (id, workspace_id, topic, partition, log_offset, reason, detail, key, value, "
        "headers, claim, died_at) SELECT gen_random_uuid(), $1, 'telemetry', 0, n, 'r', 'd', '', '', '{}', "
        "gen_random_uuid(), now() - $2::interval FROM generate_series(1, $3) AS n",
        workspace,
        timedelta(days=days),
        letters,
    )


async def test_claims_are_looked_up_one_by_one(database: TestDatabase, owner: asyncpg.Connection) -> None:
    for slot in _slots_of_other_days():
        await owner.execute(f"INSERT INTO tally.claim_{slot} SELECT gen_random_uuid() FROM generate_series(1, 10000)")
    worker = tally.worker(database.url, "tally")
    await prepare_claims(worker)
    await worker.close()
    await prepare_statistics(owner)
    async with reads_at_most(1000, owner):
        worker = tally.worker(database.url, "tally")
        for n in range(TIMES):
            ids = [(n * 500 + m).to_bytes(16, "big") for m in range(500)]
            async with worker.transaction() as connection:
                assert len(await claim(connection, ids, datetime.now(UTC))) == 500
        await worker.close()


async def test_a_day_of_claims_is_not_read_to_settle_a_few_letters(
    database: TestDatabase, owner: asyncpg.Connection
) -> None:
    slot, first = 4, date.fromordinal(CLAIM_TABLES * 80_000 + 4)
    await owner.execute(f"INSERT INTO tally.claim_{slot} SELECT gen_random_uuid() FROM generate_series(1, {MUCH})")
    await owner.execute("INSERT INTO tally.claim_day VALUES ($1, $2)", slot, first)
    await _add_letters(owner, 1000)
    await owner.execute(
        f"UPDATE tally.dead_letter SET claim = (SELECT id FROM tally.claim_{slot} LIMIT 1) WHERE log_offset = 1"
    )
    await prepare_statistics(owner)
    async with reads_at_most(3000, owner):
        worker = tally.worker(database.url, "tally")
        await prepare_day(worker, first + timedelta(days=CLAIM_TABLES))
        await worker.close()
    assert await owner.fetchval("SELECT count(*) FROM tally.dead_letter WHERE settled_at IS NOT NULL") == 1


async def test_letters_of_others_are_not_read(database: TestDatabase, owner: asyncpg.Connection) -> None:
    await _add_letters(owner, 3, workspace=1, days=3)
    await _add_letters(owner, 2, workspace=None, days=4)
    await _add_letters(owner, MUCH, workspace=2)
    await prepare_statistics(owner)
    async with reads_at_most(1000, owner):
        log = event_log(database.url, name="test")
        async with desk.opened(database.url, owner, log) as people:
            for _ in range(TIMES):
                for who, letters in (("one", 3), ("operator", 5), ("two", 10)):
                    answer = await people.letters(who, "GET", "?limit=10")
                    assert len(answer.json()) == letters


async def test_letters_that_stay_are_not_read_to_forget_old_ones(
    database: TestDatabase, owner: asyncpg.Connection
) -> None:
    await _add_letters(owner, MUCH)
    await _add_letters(owner, 1000, days=15)
    await prepare_statistics(owner)
    async with reads_at_most(5000, owner):
        worker = tally.worker(database.url, "tally")
        assert not await forget_old(worker)
        await worker.close()
    assert await owner.fetchval("SELECT count(*) FROM tally.dead_letter") == MUCH


async def test_an_outbox_that_was_empty_when_its_polls_were_planned_is_read_a_window_at_a_time(
    database: TestDatabase, owner: asyncpg.Connection
) -> None:
    await prepare_statistics(owner)
    async with reads_at_most(MUCH, owner):
        worker = tally.worker(database.url, "tally")
        relay, floor = Relay("tally", worker, ScriptedLog(), database.url), Floor(seconds=0)
        for _ in range(TIMES):
            assert await relay.publish_once() == 0
            assert await _age(worker, floor) is None
        await _fill_outbox(owner, partition=0)
        for _ in range(TIMES):
            assert await relay.publish_once() == outbox.WINDOW_RECORDS
            assert await _age(worker, floor) is not None
        await worker.close()


async def _age(worker: Database, floor: Floor) -> float | None:
    async with worker.transaction() as connection:
        await floor.look(connection)
    async with worker.transaction() as connection:
        return await age_of_oldest(connection, floor.number)


async def test_what_is_held_back_is_not_read_for_what_goes_on(
    database: TestDatabase, owner: asyncpg.Connection
) -> None:
    await _fill_outbox(owner, partition=0)
    await prepare_statistics(owner)
    async with reads_at_most(4 * outbox.WINDOW_RECORDS, owner):
        worker = tally.worker(database.url, "tally")
        log = ScriptedLog()
        log.stuck.add(TopicPartition(Topic.TOUCHES, 0))
        relay = Relay("tally", worker, log, database.url)
        await relay.publish_once()
        for n in range(TIMES):
            await _fill_outbox(owner, partition=1 + n, rows=1)
            assert await relay.publish_once() == 1
        await relay._give_up_what_is_under_way()
        await worker.close()


async def test_what_a_backup_keeps_of_an_outbox_is_passed_over(
    database: TestDatabase, owner: asyncpg.Connection
) -> None:
    backup = await asyncpg.connect(database.owner_url)
    await _fill_outbox(owner, partition=0)
    await backup.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
    worker = tally.worker(database.url, "tally")
    floor = Floor(seconds=0)
    async with worker.transaction() as connection:
        floor.note([await owner.fetchval("SELECT max(id) FROM tally.outbox")])
        await owner.execute("DELETE FROM tally.outbox")
        await floor.look(connection)
        await floor.look(connection)
    await worker.close()
    async with reads_at_most(100, owner):
        worker = tally.worker(database.url, "tally")
        for without in ((), [TopicPartition(Topic.TOUCHES, 1)]):
            for _ in range(TIMES):
                async with worker.transaction() as connection:
                    assert not await oldest(connection, without, records=500, size=1000, floor=floor.number)
        await worker.close()
        await backup.close()


async def test_the_floor_waits_for_who_has_drawn_a_number_and_commits_late(
    database: TestDatabase, owner: asyncpg.Connection
) -> None:
    """Else its rows would be found after others of their key that came later."""
    worker = tally.worker(database.url, "tally")
    floor = Floor(seconds=0)

    async def look(times: int) -> None:
        for _ in range(times):
            async with worker.transaction() as connection:
                found = await oldest(connection, (), records=500, size=1000, floor=floor.number)
                floor.note([row.id for row in found])
                await floor.look(connection)

    await _fill_outbox(owner, partition=0, rows=1)
    late = await asyncpg.connect(database.owner_url)
    await late.execute("BEGIN")
    await _fill_outbox(late, partition=0, rows=1)
    await _fill_outbox(owner, partition=0, rows=1)
    await look(times=3)
    await owner.execute("DELETE FROM tally.outbox")
    await look(times=3)
    assert floor.number <= 2, "the late row may still appear"
    await late.execute("COMMIT")
    await look(times=3)
    assert floor.number == 2, "the late row waits"
    await owner.execute("DELETE FROM tally.outbox")
    await look(times=2)
    assert floor.number == 4
    await late.close()
    await worker.close()


async def test_a_log_behind_a_slow_reader_is_read_a_batch_at_a_time(
    database: TestDatabase, owner: asyncpg.Connection
) -> None:
    """Planned while the log is empty, as when a service starts with an installation."""
    source = TopicPartition(Topic.TELEMETRY, 3)
    await prepare_statistics(owner)

    async def at_start(_: TopicPartition) -> int:
        return 0

    async with reads_at_most(MUCH // 2, owner):
        log = event_log(database.url, name="test")
        await log.open()
        async with log.subscribe("slow", [Topic.TELEMETRY], at_start) as subscription:
            assert await subscription.next_batch(50, 0.0) is None
            assert source in subscription.owned
            for _ in range(TIMES):
                await tally.publish(log, [tally.telemetry(1)], partition=3)
                assert await subscription.next_batch(50, 1.0) is not None
            number = await owner.fetchval(
                "SELECT number FROM log.topic_partition WHERE topic = $1 AND partition = 3", source.topic
            )
            await owner.execute(
                "INSERT INTO log.record SELECT $2 + n, clock_timestamp(), $1, 'k', 'v', NULL "
                "FROM generate_series(0, $3 - 1) AS n",
                number,
                TIMES,
                MUCH,
            )
            await owner.execute("UPDATE log.topic_partition SET next = next + $2 WHERE number = $1", number, MUCH)
            for _ in range(TIMES):
                batch = await subscription.next_batch(50, 1.0)
                assert batch is not None
                assert len(batch.records) == 50
                assert await log.appended_at({source: TIMES})
        await log.close()


async def test_a_day_of_the_log_is_not_read_to_see_whether_it_may_go(
    database: TestDatabase, owner: asyncpg.Connection
) -> None:
    day = datetime.now(UTC).date() - timedelta(days=20)
    await owner.execute(
        f"CREATE TABLE log.record_{day:%Y%m%d} PARTITION OF log.record FOR VALUES FROM ('{day}') TO "
        f"('{day + timedelta(days=1)}')"
    )
    await owner.execute(f"CREATE UNIQUE INDEX ON log.record_{day:%Y%m%d} (number, position)")
    await owner.execute(
        f"INSERT INTO log.record SELECT n / 12, '{day}', n % 12, 'k', 'v', NULL FROM generate_series(0, {MUCH}) AS n"
    )
    await owner.execute("INSERT INTO log.group_position VALUES ('slow', 0, 1)")
    await prepare_statistics(owner)
    async with reads_at_most(3000, owner):
        log = event_log(database.url, name="test")
        await log.open()
        await eventually(lambda: _was_kept(owner), what="the day was looked at")
        await log.close()


async def _was_kept(owner: asyncpg.Connection) -> bool:
    """Upkeep is the last that the log's reader has run."""
    return bool(
        await owner.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'test log reader' AND state = 'idle' "
            "AND query LIKE '%drop_old_days%'"
        )
    )
