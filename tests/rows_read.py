"""How many rows PostgreSQL has looked at, by table: work on one account must not read what others have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from libs.common.testing import eventually
from tests.conftest import TestDatabase

# Entries of an index count too: a scan of the whole index of a table is a scan of the table.
_ROWS_READ = """
SELECT t.schemaname || '.' || t.relname AS name, t.seq_tup_read + coalesce(
    (SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes i WHERE i.relid = t.relid), 0) AS rows
FROM pg_stat_user_tables t
"""


@asynccontextmanager
async def reads_at_most(most: int, owner: asyncpg.Connection) -> AsyncIterator[None]:
    """Raises AssertionError when other sessions read more than ``most`` rows of any one table meanwhile. What a session
    has read is counted when it ends: the block must close every pool that it has used.
    """
    before = await _rows_read(owner)
    yield
    await eventually(lambda: _is_alone(owner), within_seconds=10, what="every other session has ended")
    after = await _rows_read(owner)
    found = {name: rows - before.get(name, 0) for name, rows in after.items()}
    assert (much := {name: rows for name, rows in found.items() if rows > most}) == {}, f"{much} rows were read"


@asynccontextmanager
async def many_others(
    database: TestDatabase, schema: str, statements: Sequence[str], rows: int, plans: str = "auto"
) -> AsyncIterator[asyncpg.Connection]:
    """An installation with so many ``rows`` of others, numbered n, by each of the ``statements``: the owner of it, who
    sees both workspaces. ``plans`` is PostgreSQL's plan_cache_mode for all other sessions: a generic plan is the worst
    that it may choose for a statement which it has seen five times, and batches choose by their size."""
    owner = await asyncpg.connect(database.owner_url, server_settings={"search_path": schema})
    try:
        await owner.execute("SELECT set_config('kizashi.workspaces', '1,2', false)")
        for statement in statements:
            await owner.execute(f"{statement} FROM generate_series(1, {rows}) AS n")
        await prepare_statistics(owner)
        await owner.execute(f"ALTER DATABASE {database.name} SET plan_cache_mode = {plans}")
        yield owner
    finally:
        await owner.close()


async def prepare_statistics(owner: asyncpg.Connection) -> None:
    """Let the planner know how large the tables are, as autovacuum does in an installation of some age."""
    await owner.execute("VACUUM (ANALYZE)")
    await owner.execute("SELECT pg_stat_force_next_flush()")  # what was read so far is not what is asked for


async def _rows_read(owner: asyncpg.Connection) -> dict[str, int]:
    await owner.execute("SELECT pg_stat_clear_snapshot()")
    return {row["name"]: int(row["rows"]) for row in await owner.fetch(_ROWS_READ)}


async def _is_alone(owner: asyncpg.Connection) -> bool:
    others = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    )
    return bool(await owner.fetchval(f"{others} AND pid <> pg_backend_pid()") == 0)
