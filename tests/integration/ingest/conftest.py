"""Ingest against a real PostgreSQL and its event log: composed in this process, or as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from deploy.local.postgres import EmbeddedPostgres
from libs.common.api_keys import Scope, new_api_key
from libs.common.event_log import EventLog, ReadRecord, TopicPartition
from libs.common.event_log_open import event_log
from libs.common.events import Event, decode
from libs.common.runtime import Service
from libs.common.testing import eventually, free_port
from libs.common.topics import Topic
from services.ingest.app import compose
from services.ingest.write_keys import new_write_key
from tests.conftest import TestDatabase


@dataclass(frozen=True)
class Tenant:
    """A workspace with one source and a key to everything."""

    workspace: int
    source: int
    write_key: str
    api_key: str

    @property
    def admin(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.api_key}"}

    @property
    def writer(self) -> dict[str, str]:
        return {"x-write-key": self.write_key}


async def add_api_key(owner: asyncpg.Connection, workspace: int, *scopes: Scope) -> str:
    made = new_api_key()
    await owner.execute(
        "INSERT INTO access.api_key (public_id, workspace_id, name, secret_hash, scopes) "
        "VALUES ($1, $2, 'test', $3, $4)",
        made.public_id,
        workspace,
        made.secret_hash,
        [scope.value for scope in scopes],
    )
    return made.token


async def add_tenant(owner: asyncpg.Connection, workspace: int) -> Tenant:
    source = await owner.fetchval(
        "INSERT INTO ingest.source (workspace_id, name) VALUES ($1, 'app') RETURNING source_id", workspace
    )
    made = new_write_key()
    await owner.execute(
        "INSERT INTO ingest.write_key (key_id, workspace_id, source_id, name, secret_hash) "
        "VALUES ($1, $2, $3, 'k', $4)",
        made.key_id,
        workspace,
        source,
        made.secret_hash,
    )
    return Tenant(workspace, source, made.key, await add_api_key(owner, workspace, *Scope))


@pytest.fixture
async def owner(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


@pytest.fixture
async def tenant(owner: asyncpg.Connection) -> Tenant:
    return await add_tenant(owner, 1)


@pytest.fixture
async def neighbour(owner: asyncpg.Connection, tenant: Tenant) -> Tenant:
    return await add_tenant(owner, 2)


@pytest.fixture
def settings(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of an ingest that is composed in this process."""
    for name in [name for name in os.environ if name.startswith("KIZASHI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KIZASHI_DATABASE_URL", database.url)
    monkeypatch.setenv("KIZASHI_ENVIRONMENT", "test")
    monkeypatch.setenv("KIZASHI_INGEST_KEY_CACHE_SECONDS", "0")


@asynccontextmanager
async def at_work(composed: Service) -> AsyncIterator[Service]:
    """With its log open and its tasks running."""
    async with AsyncExitStack() as stack:
        for closing in reversed(composed.close):
            stack.push_async_callback(closing)
        for opening in composed.open:
            await opening()
        tasks = [asyncio.create_task(task()) for task in composed.tasks]
        yield composed
        composed.stopping.set()
        await asyncio.gather(*tasks)


@pytest.fixture
async def service(settings: None) -> AsyncIterator[Service]:
    """Ingest as its composition root wires it, at work."""
    async with at_work(compose()) as composed:
        yield composed


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as client:
        yield client


@pytest.fixture
async def log(database: TestDatabase) -> AsyncIterator[EventLog]:
    opened = event_log(database.url, name="test")
    await opened.open()
    yield opened
    await opened.close()


async def records(log: EventLog, topic: Topic) -> list[tuple[TopicPartition, ReadRecord]]:
    """All that a topic holds, each with its partition."""
    positions = dict(await log.starts([topic]))
    ends = await log.ends([topic])
    found: list[tuple[TopicPartition, ReadRecord]] = []

    async def start_at(source: TopicPartition) -> int:
        return positions[source]

    async with log.subscribe("test", [topic], start_at) as subscription:

        async def caught_up() -> bool:
            while batch := await subscription.next_batch(1000, 0.1):
                positions[batch.source] = batch.end
                found.extend((batch.source, record) for record in batch.records)
            return all(positions[source] >= end for source, end in ends.items())

        await eventually(caught_up, what=f"reading {topic}")
    return found


async def events(log: EventLog, topic: Topic) -> Sequence[Event]:
    return [decode(record.value) for _, record in await records(log, topic)]


@dataclass(frozen=True)
class Running:
    """A child process of ingest that answers at ``url``."""

    process: asyncio.subprocess.Process
    url: str

    @property
    def resident_bytes(self) -> int:
        return int(psutil.Process(self.process.pid).memory_info().rss)


Start = Callable[..., Coroutine[Any, Any, Running]]


@pytest.fixture
async def start(database: TestDatabase) -> AsyncIterator[Start]:
    """Starts ``python -m services.ingest`` and waits until it is ready; keyword arguments are further variables."""
    started: list[asyncio.subprocess.Process] = []

    async def one(**variables: str) -> Running:
        port = int(variables.get("KIZASHI_INGEST_PORT") or free_port())
        process = await launch(database, port, **variables)
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url) as probe:

            async def ready() -> bool:
                assert process.returncode is None, "it ended"
                try:
                    return (await probe.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(ready, within_seconds=20, what="readiness")
        return Running(process, url)

    yield one
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def launch(database: TestDatabase, port: int, **variables: str) -> asyncio.subprocess.Process:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KIZASHI_")}
    ours = {
        "KIZASHI_DATABASE_URL": database.url,
        "KIZASHI_INGEST_PORT": str(port),
        "KIZASHI_ENVIRONMENT": "test",
        "KIZASHI_LOGGING_LEVEL": "warning",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.ingest",
        env=clean | ours | variables,
        stderr=asyncio.subprocess.PIPE,
    )


StandsStill = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def stands_still(postgres: EmbeddedPostgres) -> StandsStill:
    """Freezes every process of the server for the length of a block: one that is connected would go on being served."""

    @contextmanager
    def frozen() -> Iterator[None]:
        server = psutil.Process(postgres.pid)
        family = [server, *server.children(recursive=True)]
        for process in family:
            process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in family:
                process.send_signal(signal.SIGCONT)

    return frozen
