"""Whose fault an error of PostgreSQL is decides between trying again and a dead letter; and a frozen owner is ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from libs.common.db import AsyncConnection, Database, text
from libs.common.errors import RetryLater
from libs.common.testing import eventually
from tests.integration.common.conftest import World
from tests.integration.common.tally import worker

Act = Callable[[AsyncConnection, World], Awaitable[Any]]


async def run(connection: AsyncConnection, statement: str, **values: object) -> Any:
    return await connection.execute(text(statement), values)


async def backend_of(connection: AsyncConnection) -> int:
    number: int = (await run(connection, "SELECT pg_backend_pid()")).scalar_one()
    return number


async def killed_between_statements(connection: AsyncConnection, world: World) -> None:
    await world.ask("SELECT pg_terminate_backend($1, 2000)", await backend_of(connection))
    await run(connection, "SELECT 1")


async def killed_in_a_statement(connection: AsyncConnection, world: World) -> None:
    await during_a_statement(connection, world, "SELECT pg_terminate_backend($1)")


async def statement_cancelled(connection: AsyncConnection, world: World) -> None:
    await during_a_statement(connection, world, "SELECT pg_cancel_backend($1)")


async def during_a_statement(connection: AsyncConnection, world: World, blow: str) -> None:
    backend = await backend_of(connection)
    busy = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')"

    async def strike() -> None:
        await eventually(lambda: world.ask(busy, backend), what="the statement runs")
        await world.ask(blow, backend)

    striking = asyncio.create_task(strike())
    try:
        await run(connection, "SELECT pg_sleep(60)")
    finally:
        await striking


async def lock_timed_out(connection: AsyncConnection, world: World) -> None:
    async with world.owner.transaction():
        await world.owner.execute("LOCK TABLE tally.outbox")
        await run(connection, "SELECT * FROM outbox")


async def deadlocked(connection: AsyncConnection, world: World) -> None:
    await run(connection, "SET LOCAL lock_timeout = 0")
    await run(connection, "SELECT pg_advisory_xact_lock(1)")
    async with world.owner.transaction():
        await world.owner.execute("SET LOCAL deadlock_timeout = '1min'")  # the other one is to be the victim
        await world.owner.execute("SELECT pg_advisory_xact_lock(2)")
        theirs = asyncio.create_task(world.owner.execute("SELECT pg_advisory_xact_lock(1)"))
        try:
            await run(connection, "SELECT pg_advisory_xact_lock(2)")
        finally:
            await connection.rollback()
            await theirs


async def serialization_failed(connection: AsyncConnection, world: World) -> None:
    assert (await run(connection, "SHOW transaction_isolation")).scalar_one() == "repeatable read"
    await world.owner.execute("UPDATE tally.claim_day SET day = '2026-01-02'")
    await run(connection, "UPDATE claim_day SET day = '2026-01-03'")


async def on_a_standby(connection: AsyncConnection, world: World) -> None:
    await run(connection, "SET TRANSACTION READ ONLY")
    await run(connection, "INSERT INTO claim_day VALUES (101, '2026-01-01')")


WORLD: list[Act] = [
    killed_between_statements,
    killed_in_a_statement,
    statement_cancelled,
    lock_timed_out,
    deadlocked,
    on_a_standby,
]


def saying(statement: str, **values: object) -> Act:
    async def act(connection: AsyncConnection, _world: World) -> None:
        await run(connection, statement, **values)

    return act


EFFECT = "INSERT INTO effect (workspace_id, event_id, times, note) VALUES (:workspace, :id, 1, CAST(:note AS jsonb))"
DATA: dict[str, Act] = {
    "escaped NUL in jsonb": saying(EFFECT, workspace=1, id="a", note=r'"\u0000"'),
    "NUL in text": saying(EFFECT, workspace=1, id="a\0", note="{}"),
    "lone surrogate": saying(EFFECT, workspace=1, id="a\ud800", note="{}"),
    "no json": saying(EFFECT, workspace=1, id="a", note="{"),
    "larger than bigint": saying(EFFECT, workspace=2**63, id="a", note="{}"),
    "overflow": saying("SELECT CAST(:n AS bigint) * 4", n=2**62),
    "wrong type": saying(EFFECT, workspace="one", id="a", note="{}"),
    "another workspace": saying(EFFECT, workspace=2, id="a", note="{}"),
    "not null": saying(EFFECT, workspace=1, id=None, note="{}"),
    "unique": saying("INSERT INTO claim_day VALUES (7, '2026-01-01'), (7, '2026-01-02')"),
    "division by zero": saying("SELECT 1 / CAST(:n AS int)", n=0),
    "no such table": saying("SELECT * FROM forgotten"),
}


@pytest.fixture
async def short(world: World) -> AsyncIterator[Database]:
    database = worker(world.url, "tally", idle_seconds=0.4, lock_seconds=0.2, pool_size=2)
    yield database
    await database.close()


@pytest.mark.parametrize("act", WORLD, ids=lambda act: act.__name__)
async def test_what_the_world_does_may_succeed_later(world: World, short: Database, act: Act) -> None:
    with pytest.raises(RetryLater):
        await attempt(short, world, act)
    await short.ping()


async def test_a_failed_serialization_is_the_world(world: World) -> None:
    await world.owner.execute("INSERT INTO tally.claim_day VALUES (100, '2026-01-01')")
    name = await world.ask("SELECT current_database()")
    await world.owner.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
    strict = worker(world.url, "tally")
    with pytest.raises(RetryLater, match="could not serialize access"):
        await attempt(strict, world, serialization_failed)
    await strict.close()


@pytest.mark.parametrize("act", DATA.values(), ids=DATA)
async def test_what_the_data_does_will_not(world: World, short: Database, act: Act) -> None:
    with pytest.raises(DBAPIError) as refused:
        await attempt(short, world, act)
    assert "parameters: (" not in str(refused.value), "a log line would show a customer's data"
    await short.ping()


async def attempt(database: Database, world: World, act: Act) -> None:
    async with database.transaction([1]) as connection:
        await act(connection, world)


async def test_all_connections_in_use_is_the_world(world: World) -> None:
    tight = worker(world.url, "tally", pool_size=1, pool_seconds=0.1)
    async with tight.transaction():
        with pytest.raises(RetryLater, match="QueuePool"):
            await tight.ping()
    await tight.ping()
    await tight.close()


@pytest.mark.parametrize(
    ("changes", "role"),
    [
        ({"query": {"host": "/nowhere"}}, "kizashi_tally_worker"),
        ({"host": "127.0.0.1", "port": 9, "query": {}}, "kizashi_tally_worker"),
        ({"database": "gone"}, "kizashi_tally_worker"),
        ({}, "kizashi_nobody_worker"),
    ],
    ids=["no socket", "nobody listens", "no such database", "no such role"],
)
async def test_whatever_prevents_a_connection_is_the_world(world: World, changes: dict[str, Any], role: str) -> None:
    url = make_url(world.url).set(**changes).render_as_string(hide_password=False)
    lost = Database(url, role=role, schema="tally")
    with pytest.raises(RetryLater, match=f"PostgreSQL as {role}"):
        await lost.ping()
    await lost.close()


async def test_a_migration_under_a_prepared_statement_is_the_world(world: World) -> None:
    """Else the record that happened to be there when a column was added would be a dead letter."""
    one = worker(world.url, "tally", pool_size=1)
    read = saying("SELECT * FROM effect")
    await attempt(one, world, read)
    await world.owner.execute("ALTER TABLE tally.effect ADD COLUMN later int")
    with pytest.raises(RetryLater):
        await attempt(one, world, read)
    await attempt(one, world, read)
    await one.close()


async def frozen(connection: AsyncConnection, world: World) -> None:
    """What SIGSTOP does to a process, seen from the server: no statement comes any more."""
    await run(connection, EFFECT, workspace=1, id="frozen", note="{}")
    await eventually(lambda: is_free(world), within_seconds=5, what="the lock is free")


async def test_an_owner_that_freezes_in_a_transaction_cannot_commit_later(world: World, short: Database) -> None:
    started = monotonic()
    with pytest.raises(RetryLater):
        await attempt(short, world, frozen)
    assert monotonic() - started < 3
    assert await world.times() == {}


async def frozen_in_a_statement(connection: AsyncConnection, world: World) -> None:
    """Parsed, never executed: the server waits for the rest and holds that the session is active, not idle."""
    await run(connection, EFFECT, workspace=1, id="frozen", note="{}")
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    await driver.prepare("SELECT 'never asked before'")
    state = "SELECT state FROM pg_stat_activity WHERE pid = $1"
    assert await world.ask(state, driver.get_server_pid()) == "active"
    await eventually(lambda: is_free(world), within_seconds=5, what="the lock is free")


async def test_nor_can_one_that_freezes_in_the_middle_of_a_statement(world: World) -> None:
    """Found by freezing real processes: for these the server's limit for idle transactions does nothing."""
    short = worker(world.url, "tally", idle_seconds=0.2, transaction_seconds=0.6)
    with pytest.raises(RetryLater):
        await attempt(short, world, frozen_in_a_statement)
    assert await world.times() == {}
    await short.close()


async def is_free(world: World) -> bool:
    return not await world.ask(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'tally.effect'::regclass AND mode = 'RowExclusiveLock')"
    )


async def test_the_limits_of_a_session_are_what_the_architecture_says(world: World) -> None:
    async with world.worker.transaction() as connection:
        names = ("idle_in_transaction_session_timeout", "lock_timeout", "transaction_timeout")
        limits = [(await run(connection, f"SHOW {name}")).scalar_one() for name in names]
    assert limits == ["3s", "3s", "10s"]


async def test_a_transaction_sees_the_workspaces_it_names_and_no_other(world: World) -> None:
    await attempt(world.worker, world, saying(EFFECT, workspace=1, id="a", note="{}"))
    for workspaces, seen in (((), 0), ([2], 0), ([2, 1], 1)):
        async with world.worker.transaction(workspaces) as connection:
            assert len((await run(connection, "SELECT * FROM effect")).all()) == seen


async def test_a_restart_of_the_server_is_survived(world: World) -> None:
    """Every pooled connection is dead at once; the pool notices before it hands one out."""
    async with world.worker.transaction(), world.worker.transaction():
        pass
    await world.ask(
        "SELECT count(pg_terminate_backend(pid, 2000)) FROM pg_stat_activity WHERE application_name = $1",
        world.worker.role,
    )
    await world.worker.ping()
