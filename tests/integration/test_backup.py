"""A backup by the commands of docs/operations.md, restored into another server: what the services find there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local.postgres import EmbeddedPostgres, start
from libs.common.db import Database
from libs.common.event_log import EventLog, Record, TopicPartition
from libs.common.event_log_open import event_log
from libs.common.expected_schema import expect_schema
from libs.common.settings import SERVICES
from libs.common.topics import Topic
from tests.conftest import LOGIN, OWNER

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
BACK_UP, RESTORE = re.findall(r"^```\n((?:p[sg]|create).*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(THROW_THE_SWITCH,) = re.findall(r"^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
NAME = "kizashi"
RECORDS = [Record(f"1:{n}".encode(), f"event {n}".encode()) for n in range(30)]


@pytest.fixture
async def backed_up(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The address for the owner of a migrated database by the name that the page has."""
    owner = await asyncpg.connect(postgres.url(OWNER, "postgres"))
    await owner.execute(f"CREATE DATABASE {NAME} TEMPLATE template_kizashi STRATEGY file_copy")
    yield postgres.url(OWNER, NAME)
    await owner.execute(f"DROP DATABASE {NAME} WITH (FORCE)")
    await owner.close()


@pytest.fixture
def other_server() -> Iterator[EmbeddedPostgres]:
    home = Path(tempfile.mkdtemp(prefix="kizashi-restored-"))
    home.chmod(0o755)
    server = start(home / "postgres", durable=False)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


async def test_every_service_accepts_a_restored_database_and_finds_its_log(
    postgres: EmbeddedPostgres, backed_up: str, other_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    log = event_log(postgres.url(LOGIN, NAME), name="before")
    await log.open()
    await log.append(Topic.TELEMETRY, RECORDS)
    identity, ends = await log.identity(Topic.TELEMETRY), await log.ends([Topic.TELEMETRY])
    await log.close()
    await execute(
        backed_up,
        "INSERT INTO access.workspace (workspace_id, name) VALUES (1, 'One')",
        "INSERT INTO notify.delivery_mode VALUES (1, 'enabled', false, 60, 100, 'prefer_miss', now(), 'somebody')",
    )

    run(BACK_UP, postgres, tmp_path)
    run(RESTORE, other_server, tmp_path)

    url = other_server.url(LOGIN, NAME)
    for service in SERVICES:
        asked = Database(url, role=f"kizashi_{service}_api", schema=service)
        await expect_schema(asked, service)
        await asked.close()
    log = event_log(url, name="after")
    await log.open()
    assert await log.identity(Topic.TELEMETRY) == identity, "another one, and no position would be believed"
    assert await log.ends([Topic.TELEMETRY]) == ends
    assert await everything_on(log) == {record.value for record in RECORDS}
    await log.append(Topic.TELEMETRY, [Record(b"1:new", b"after the restore")])
    assert sum((await log.ends([Topic.TELEMETRY])).values()) == len(RECORDS) + 1
    await log.close()

    await execute(other_server.url(OWNER, NAME), THROW_THE_SWITCH)
    notify = Database(url, role="kizashi_notify_worker", schema="notify")
    async with notify.transaction([1]) as connection:
        assert (await connection.exec_driver_sql("SELECT kill_switch FROM delivery_mode")).scalar_one() is True
    await notify.close()


def run(commands: str, server: EmbeddedPostgres, folder: Path) -> None:
    """As somebody would who has them in a shell, beside the server and as its superuser."""
    path = f"{server.server.bin_path}:{os.environ['PATH']}"
    environment = {"PATH": path, "PGHOST": server.socket_folder, "PGUSER": OWNER}
    done = subprocess.run(["bash", "-ec", commands], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def everything_on(log: EventLog) -> set[bytes]:
    async def from_the_start(_source: TopicPartition) -> int:
        return 0

    found: set[bytes] = set()
    async with log.subscribe("a reader", [Topic.TELEMETRY], from_the_start) as subscription:
        while len(found) < len(RECORDS):
            batch = await subscription.next_batch(100, timeout_seconds=5)
            assert batch is not None
            found |= {record.value for record in batch.records}
    return found
