"""Migrations run on an empty database and again on a migrated one, and services wait for theirs."""

import asyncio
import os
import socket
import sys

import asyncpg
import pytest

from deploy.local.postgres import EmbeddedPostgres
from libs.common.db import Database
from libs.common.errors import NotStarted
from libs.common.expected_schema import expect_schema
from libs.common.migrate import head_of, migrate, version_folders
from libs.common.settings import SERVICES
from tests.conftest import LOGIN, TestDatabase


async def test_migrating_twice_changes_nothing(database: TestDatabase) -> None:
    await migrate(database.owner_url, LOGIN)
    owner = await asyncpg.connect(database.owner_url)
    for schema in version_folders():
        assert await owner.fetchval(f"SELECT version_num FROM {schema}.schema_version") == head_of(schema)
    await owner.close()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("UPDATE health.schema_version SET version_num = 'health_0002'", "is at health_0002, and this release needs"),
        ("DELETE FROM health.schema_version", "is at no revision, and this release needs"),
        ("DROP TABLE health.schema_version", "run the migrations"),
        ("UPDATE health.schema_version SET version_num = 'health_9999'", None),
    ],
    ids=["behind", "empty", "none", "ahead"],
)
async def test_a_release_asks_for_its_schema_or_a_newer_one(
    database: TestDatabase, change: str, sentence: str | None
) -> None:
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(change)
    worker = Database(database.url, role="kizashi_health_worker", schema="health")
    if sentence is None:
        await expect_schema(worker, "health")
    else:
        with pytest.raises(NotStarted, match=sentence):
            await expect_schema(worker, "health")
    await worker.close()
    await owner.close()


@pytest.mark.parametrize(("user", "name"), [(LOGIN, "template1"), (LOGIN, "nowhere"), ("nobody", "")], ids=str)
async def test_a_database_that_does_not_let_us_in_is_a_sentence(
    postgres: EmbeddedPostgres, database: TestDatabase, user: str, name: str
) -> None:
    """Not migrated at all, not there, or not ours: to wait would not help."""
    worker = Database(postgres.url(user, name or database.name), role="kizashi_health_worker", schema="health")
    with pytest.raises(NotStarted, match="run the migrations"):
        await expect_schema(worker, "health")
    await worker.close()


async def test_a_role_that_nobody_made_is_a_sentence(database: TestDatabase) -> None:
    worker = Database(database.url, role="kizashi_nobody", schema="health")
    with pytest.raises(NotStarted, match="does not let health in as kizashi_nobody"):
        await expect_schema(worker, "health")
    await worker.close()


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_without_its_newest_migration_says_so_and_does_not_start(
    database: TestDatabase, service: str
) -> None:
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(f"UPDATE {service}.schema_version SET version_num = '{service}_0001'")
    await owner.close()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KIZASHI_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"services.{service}",
        env=environment | {"KIZASHI_DATABASE_URL": database.url, f"KIZASHI_{service.upper()}_PORT": port},
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert errors.decode().splitlines()[-1] == (
        f"The schema {service} of the database is at {service}_0001, and this release needs {head_of(service)}; run "
        "the migrations (python -m libs.common.migrate)."
    )
