"""What only the PostgreSQL engine of the event log does: days and retention, group commit, rights, refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

from deploy.local.postgres import EmbeddedPostgres
from libs.common.errors import NotStarted, PositionLost, RetryLater
from libs.common.event_log import EventLog, Record, TopicPartition
from libs.common.event_log_open import event_log
from libs.common.event_log_postgres.log import PostgresEventLog
from libs.common.event_log_postgres.subscription import SLOWEST_POLL_SECONDS
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.conftest import LOGIN, OWNER, TestDatabase

TOPIC = Topic.HEALTH
FIRST = TopicPartition(TOPIC, 0)
TODAY = datetime.now(UTC).date()


@pytest.fixture
async def log(database: TestDatabase) -> AsyncIterator[EventLog]:
    """It keeps everything: the tests drop old days themselves, and its upkeep must not be there first."""
    made = PostgresEventLog(database.url, name="test", retention_days=3650)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def owner(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


async def days(owner: asyncpg.Connection) -> list[date]:
    """The days that have a table."""
    rows = await owner.fetch("SELECT inhrelid::regclass::text AS name FROM pg_inherits ORDER BY 1")
    return [datetime.strptime(row["name"], "log.record_%Y%m%d").replace(tzinfo=UTC).date() for row in rows]


async def append_on(owner: asyncpg.Connection, day: date, values: Sequence[bytes]) -> None:
    """Append to the first partition as if it were that day."""
    await owner.execute("SELECT log.keep_days_ahead()")
    bounds = f"FROM ('{day} 00:00+00') TO ('{day + timedelta(days=1)} 00:00+00')"
    await owner.execute(f"CREATE TABLE log.record_{day:%Y%m%d} PARTITION OF log.record FOR VALUES {bounds}")
    number = await owner.fetchval("SELECT number FROM log.topic_partition WHERE topic = $1 AND partition = $2", *FIRST)
    await owner.execute(
        "SELECT log.append(ARRAY[$1::smallint], ARRAY[$2::int], array_fill($1::smallint, ARRAY[$2::int]), "
        "ARRAY(SELECT generate_series(0, $2::int - 1)), array_fill(''::bytea, ARRAY[$2::int]), $3::bytea[], "
        "array_fill(NULL::bytea, ARRAY[$2::int]))",
        number,
        len(values),
        list(values),
    )
    await owner.execute(
        "UPDATE log.record SET appended_at = $1 WHERE value = ANY ($2) AND number = $3",
        datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
        list(values),
        number,
    )


async def note_position(owner: asyncpg.Connection, group: str, position: int) -> None:
    await owner.execute(
        "INSERT INTO log.group_position (group_name, number, position) SELECT $1, number, $2 FROM log.topic_partition "
        "WHERE topic = $3 AND partition = $4 ON CONFLICT (group_name, number) DO UPDATE SET position = $2",
        group,
        position,
        *FIRST,
    )


async def drop_old_days(owner: asyncpg.Connection, retention_days: int) -> list[tuple[date, str | None]]:
    return [tuple(row) for row in await owner.fetch("SELECT day, held_by FROM log.drop_old_days($1)", retention_days)]


def ago(number: int) -> date:
    return TODAY - timedelta(days=number)


# --- days and retention ---


async def test_tables_for_the_coming_days_are_there_ahead_of_time(log: EventLog, owner: asyncpg.Connection) -> None:
    ahead = [TODAY + timedelta(days=number) for number in range(4)]
    assert await days(owner) == ahead
    await owner.execute("SELECT log.keep_days_ahead()")
    assert await days(owner) == ahead


async def test_who_waited_for_another_to_make_the_days_sees_what_it_made(
    database: TestDatabase, owner: asyncpg.Connection
) -> None:
    """As when all services of a new installation start at the same moment."""
    for day in await days(owner):
        await owner.execute(f"DROP TABLE log.record_{day:%Y%m%d}")
    second = await asyncpg.connect(database.owner_url)
    waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid = $1)"
    try:
        async with owner.transaction():
            await owner.execute("SELECT log.keep_days_ahead()")
            coming = asyncio.create_task(second.execute("SELECT log.keep_days_ahead()"))

            async def is_waiting() -> bool:
                return bool(await owner.fetchval(waits, second.get_server_pid()))

            await eventually(is_waiting, what="the second waits for the first")
        await coming
    finally:
        await second.close()
    assert len(await days(owner)) == 4


async def test_a_log_that_was_forgotten_for_days_makes_its_table_and_goes_on(
    log: EventLog, owner: asyncpg.Connection
) -> None:
    for day in await days(owner):
        await owner.execute(f"DROP TABLE log.record_{day:%Y%m%d}")
    await log.append(TOPIC, [Record(b"", b"value")], partition=0)
    assert (await log.ends([TOPIC]))[FIRST] == 1
    assert TODAY in await days(owner)


async def test_days_past_retention_are_dropped_whole_and_younger_ones_stay(
    log: EventLog, owner: asyncpg.Connection
) -> None:
    await append_on(owner, ago(9), [b"a", b"b"])
    await append_on(owner, ago(8), [b"c"])
    await append_on(owner, ago(7), [b"d"])
    assert await drop_old_days(owner, 7) == [(ago(9), None), (ago(8), None)]
    assert (await days(owner))[0] == ago(7)
    assert (await log.starts([TOPIC]))[FIRST] == 3
    assert (await log.ends([TOPIC]))[FIRST] == 4
    assert await drop_old_days(owner, 7) == []


async def test_a_group_that_has_not_read_a_day_holds_it_and_all_that_follow(
    log: EventLog, owner: asyncpg.Connection
) -> None:
    for number, value in ((12, b"a"), (11, b"b"), (10, b"c")):
        await append_on(owner, ago(number), [value])
    await note_position(owner, "quick", 3)
    await note_position(owner, "slow", 1)
    assert await drop_old_days(owner, 7) == [(ago(12), None), (ago(11), "slow")]
    assert (await log.starts([TOPIC]))[FIRST] == 1
    await note_position(owner, "slow", 3)
    assert await drop_old_days(owner, 7) == [(ago(11), None), (ago(10), None)]
    assert (await log.starts([TOPIC]))[FIRST] == 3


async def test_a_day_in_use_is_dropped_another_time(
    log: EventLog, owner: asyncpg.Connection, database: TestDatabase
) -> None:
    """A backup reads for hours; neither appends nor reads may queue behind a drop that waits for it."""
    await append_on(owner, ago(9), [b"a"])
    backup = await asyncpg.connect(database.owner_url)
    async with backup.transaction():
        await backup.fetch("SELECT count(*) FROM log.record")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await drop_old_days(owner, 7)
        await log.append(TOPIC, [Record(b"", b"b")], partition=0)
    await backup.close()
    assert await drop_old_days(owner, 7) == [(ago(9), None)]


async def test_retention_below_a_day_is_refused(log: EventLog, owner: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.RaiseError, match="at least one day"):
        await drop_old_days(owner, 0)


async def test_every_process_looks_after_the_days_by_itself(database: TestDatabase, owner: asyncpg.Connection) -> None:
    await append_on(owner, ago(9), [b"a"])
    logs = [PostgresEventLog(database.url, name=f"test {number}", retention_days=7) for number in range(3)]
    await asyncio.gather(*(one.open() for one in logs))

    async def dropped() -> bool:
        return (await days(owner))[0] == TODAY

    await eventually(dropped)
    for one in logs:
        await one.close()


async def test_groups_are_registered_when_they_take_a_partition_and_noted_as_they_go(
    log: EventLog, owner: asyncpg.Connection
) -> None:
    async def positions() -> dict[int, int]:
        rows = await owner.fetch(
            "SELECT partition, position FROM log.group_position JOIN log.topic_partition USING (number) "
            "WHERE group_name = 'group' AND topic = $1",
            TOPIC,
        )
        return {row["partition"]: row["position"] for row in rows}

    async def start_at(source: TopicPartition) -> int:
        return 0

    await log.append(TOPIC, [Record(b"", b"a"), Record(b"", b"b")], partition=0)
    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        batch = await subscription.next_batch(1, 5)

        async def registered() -> bool:
            subscription.rewind(FIRST, 1, 60)
            await subscription.next_batch(1, 0.05)
            return await positions() == dict.fromkeys(range(12), 0)

        await eventually(registered)
        assert batch is not None
        await subscription.commit(batch.source, batch.end)
    assert await positions() == {**dict.fromkeys(range(12), 0), 0: 1}


async def test_days_out_of_order_are_read_in_the_order_of_positions(log: EventLog, owner: asyncpg.Connection) -> None:
    """The server's clock was set back between appends."""
    await append_on(owner, ago(1), [b"a"])
    await append_on(owner, ago(3), [b"b"])
    await append_on(owner, ago(2), [b"c"])

    async def start_at(source: TopicPartition) -> int:
        return 0

    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        batch = await subscription.next_batch(10, 5)
    assert batch is not None
    assert [(record.offset, record.value) for record in batch.records] == [(0, b"a"), (1, b"b"), (2, b"c")]


async def test_a_day_dropped_between_two_looks_is_loss_and_not_an_empty_batch(
    log: EventLog, owner: asyncpg.Connection, database: TestDatabase
) -> None:
    """The reader has been told that there is more, and its fetch waits for the drop."""

    async def start_at(source: TopicPartition) -> int:
        return 0

    await append_on(owner, ago(9), [b"a", b"b", b"c"])
    dropping = await asyncpg.connect(database.owner_url)
    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        assert await subscription.next_batch(1, 5) is not None
        async with dropping.transaction():
            await dropping.execute("DELETE FROM log.group_position")
            assert await drop_old_days(dropping, 7) == [(ago(9), None)]
            fetching = asyncio.create_task(subscription.next_batch(1, 5))

            async def fetch_waits() -> bool:
                waiting: bool = await owner.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
                return waiting

            await eventually(fetch_waits)
        with pytest.raises(PositionLost, match="older records were dropped"):
            await fetching
    await dropping.close()


async def test_a_full_topic_delays_another_by_a_batch_and_not_by_twelve(log: EventLog) -> None:
    async def start_at(source: TopicPartition) -> int:
        return 0

    for partition in range(12):
        await log.append(Topic.TELEMETRY, [Record(b"", b"news")], partition)
        await log.append(Topic.TELEMETRY_IMPORT, [Record(b"", b"old")] * 50, partition)
    async with log.subscribe("group", [Topic.TELEMETRY, Topic.TELEMETRY_IMPORT], start_at) as subscription:
        served = [await subscription.next_batch(1, 5) for _ in range(24)]
    topics = [batch.source.topic for batch in served if batch is not None]
    assert topics == [Topic.TELEMETRY, Topic.TELEMETRY_IMPORT] * 12


async def test_what_is_left_alone_for_a_while_is_no_reason_to_ask_often(log: EventLog) -> None:
    async def start_at(source: TopicPartition) -> int:
        return 0

    left_alone = {Topic.TELEMETRY_IMPORT: 0}
    await log.append(Topic.TELEMETRY_IMPORT, [Record(b"", b"old")], partition=0)
    async with log.subscribe("group", [Topic.TELEMETRY, Topic.TELEMETRY_IMPORT], start_at) as subscription:

        async def asks_seldom() -> bool:
            assert await subscription.next_batch(1, 0.05, left_alone) is None
            interval: float = subscription._poll_interval  # type: ignore[attr-defined]
            return interval == SLOWEST_POLL_SECONDS

        await eventually(asks_seldom)
        await log.append(Topic.TELEMETRY, [Record(b"", b"news")], partition=0)
        batch = await subscription.next_batch(1, 5, left_alone)
        assert batch is not None
        assert batch.source.topic is Topic.TELEMETRY
        batch = await subscription.next_batch(1, 5)
        assert batch is not None
        assert batch.source.topic is Topic.TELEMETRY_IMPORT


# --- append ---


async def test_concurrent_appends_travel_together(log: EventLog, owner: asyncpg.Connection) -> None:
    await asyncio.gather(*(log.append(TOPIC, [Record(f"1:{n}".encode(), b"value")]) for n in range(300)))
    assert await owner.fetchval("SELECT count(*) FROM log.record") == 300
    assert await owner.fetchval("SELECT count(DISTINCT xmin::text) FROM log.record") <= 5


async def test_an_append_that_fails_leaves_no_gap(log: EventLog, owner: asyncpg.Connection) -> None:
    await log.append(TOPIC, [Record(b"", b"a")], partition=0)
    aborted = owner.transaction()
    await aborted.start()
    await owner.execute(
        "SELECT log.append(ARRAY[number], ARRAY[1], ARRAY[number], ARRAY[0], ARRAY[''::bytea], ARRAY['x'::bytea], "
        "ARRAY[NULL::bytea]) FROM log.topic_partition WHERE topic = $1 AND partition = $2",
        *FIRST,
    )
    waiting = asyncio.create_task(log.append(TOPIC, [Record(b"", b"b")], partition=0))
    await asyncio.wait([waiting], timeout=0.1)
    assert not waiting.done()
    await aborted.rollback()
    await waiting
    assert await owner.fetchval("SELECT array_agg(position ORDER BY position) FROM log.record") == [0, 1]


async def test_a_call_larger_than_a_transaction_arrives_in_its_order(log: EventLog, owner: asyncpg.Connection) -> None:
    values = [str(number).encode() for number in range(12_000)]
    await log.append(TOPIC, [Record(b"1:key", value) for value in values])
    assert await owner.fetchval("SELECT array_agg(value ORDER BY position) FROM log.record") == values
    assert await owner.fetchval("SELECT count(DISTINCT xmin::text) FROM log.record") == 3


async def test_too_much_waiting_is_refused_at_once_and_what_waits_is_stored(
    log: EventLog, owner: asyncpg.Connection
) -> None:
    megabyte = Record(b"1:key", bytes(1_000_000))
    held = owner.transaction()
    await held.start()
    await owner.execute("SELECT FROM log.topic_partition FOR UPDATE")
    waiting = [asyncio.create_task(log.append(TOPIC, [megabyte])) for _ in range(75)]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION, timeout=2)
    await held.rollback()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [one for one in outcomes if one is not None]
    assert done
    assert 0 < len(refused) < 15
    assert all(isinstance(one, RetryLater) for one in refused)
    assert await owner.fetchval("SELECT count(*) FROM log.record") == 75 - len(refused)


async def test_nothing_waits_for_history(log: EventLog, owner: asyncpg.Connection) -> None:
    held = owner.transaction()
    await held.start()
    await owner.execute("SELECT FROM log.topic_partition WHERE topic = $1 FOR UPDATE", Topic.TELEMETRY_IMPORT)
    history = asyncio.create_task(log.append(Topic.TELEMETRY_IMPORT, [Record(b"1:key", b"past")]))
    await asyncio.wait([history], timeout=0.05)
    async with asyncio.timeout(2):
        await log.append(Topic.TELEMETRY, [Record(b"1:key", b"now")])
    assert not history.done()
    await held.rollback()
    await history


async def test_what_is_given_up_while_it_waits_is_not_stored(log: EventLog, owner: asyncpg.Connection) -> None:
    held = owner.transaction()
    await held.start()
    await owner.execute("SELECT FROM log.topic_partition FOR UPDATE")
    on_its_way = asyncio.create_task(log.append(TOPIC, [Record(b"1:key", b"first")]))
    await asyncio.wait([on_its_way], timeout=0.05)
    given_up = asyncio.create_task(log.append(TOPIC, [Record(b"1:key", b"second")]))
    kept = asyncio.create_task(log.append(TOPIC, [Record(b"1:key", b"third")]))
    await asyncio.wait([given_up, kept], timeout=0.05)
    given_up.cancel()
    await held.rollback()
    await asyncio.gather(on_its_way, kept)
    assert await owner.fetchval("SELECT array_agg(value ORDER BY position) FROM log.record") == [b"first", b"third"]


# --- rights ---

FORBIDDEN = [
    "INSERT INTO log.record VALUES (0, now(), 0, '', '', NULL)",
    "UPDATE log.record SET value = ''",
    "DELETE FROM log.record",
    "TRUNCATE log.record",
    "DROP TABLE log.record",
    "UPDATE log.topic_partition SET next = 0",
    "DELETE FROM log.topic_partition",
    "UPDATE log.identity SET id = gen_random_uuid()",
    "CREATE TABLE log.mine (n int)",
    "SELECT * FROM access.api_key",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_the_role_of_the_log_can_append_and_read_and_nothing_else(
    log: EventLog, database: TestDatabase, statement: str
) -> None:
    connection = await asyncpg.connect(database.url, server_settings={"role": "kizashi_log"})
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)
    await connection.close()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM log.record",
        "SELECT * FROM log.identity",
        "SELECT log.keep_days_ahead()",
        "SELECT log.drop_old_days(1)",
    ],
)
async def test_without_that_role_the_log_does_not_exist(log: EventLog, database: TestDatabase, statement: str) -> None:
    connection = await asyncpg.connect(database.url)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)
    await connection.close()


async def test_functions_that_run_as_the_owner_look_nowhere_else_for_names(owner: asyncpg.Connection) -> None:
    rows = await owner.fetch(
        "SELECT proname, proconfig FROM pg_proc WHERE pronamespace = 'log'::regnamespace AND prosecdef"
    )
    assert {row["proname"] for row in rows} == {"append", "keep_days_ahead", "drop_old_days"}
    for row in rows:
        assert "search_path=pg_catalog, pg_temp" in row["proconfig"]


# --- refusals ---


async def test_a_database_without_the_log_is_one_sentence_for_the_operator(
    postgres: EmbeddedPostgres, owner: asyncpg.Connection, database: TestDatabase
) -> None:
    empty = f"{database.name}_empty"
    await owner.execute(f"CREATE DATABASE {empty} TEMPLATE template0")
    try:
        for user, name in (
            (LOGIN, empty),
            (OWNER, empty),
            (LOGIN, "no_such_database"),
            ("no_such_user", database.name),
        ):
            log = event_log(postgres.url(user, name), name="test")
            with pytest.raises(NotStarted, match="run the migrations"):
                await log.open()
            await log.close()
    finally:
        await owner.execute(f"DROP DATABASE {empty} WITH (FORCE)")


async def test_a_log_without_a_topic_of_this_release_is_refused(
    database: TestDatabase, owner: asyncpg.Connection
) -> None:
    await owner.execute("DELETE FROM log.topic_partition WHERE topic = $1 AND partition = 11", TOPIC)
    with pytest.raises(NotStarted, match="11 partitions of health where this release needs 12"):
        await event_log(database.url, name="test").open()


async def test_an_address_of_no_known_engine_is_refused() -> None:
    with pytest.raises(NotStarted, match="postgresql://"):
        event_log("carrier-pigeon://roof", name="test")
