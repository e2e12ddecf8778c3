"""Migrations run on an empty database and again on a migrated one."""

import asyncpg

from libs.common.migrate import head_of, migrate, version_folders
from tests.conftest import LOGIN, TestDatabase


async def test_migrating_twice_changes_nothing(database: TestDatabase) -> None:
    await migrate(database.owner_url, LOGIN)
    owner = await asyncpg.connect(database.owner_url)
    for schema in version_folders():
        assert await owner.fetchval(f"SELECT version_num FROM {schema}.schema_version") == head_of(schema)
    await owner.close()
