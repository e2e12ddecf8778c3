"""A real PostgreSQL and a real Kafka for every test run, and a migrated database for every test that asks."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from deploy.local.kafka import EmbeddedKafka
from deploy.local.kafka import start as start_kafka
from deploy.local.kafka_jars import DEFAULT_FOLDER, fetch_jars, find_java
from deploy.local.postgres import EmbeddedPostgres, start
from deploy.local.terminal import Terminal
from libs.common.errors import NotStarted
from libs.common.migrate import migrate
from tests.kafka_topics import make_topics

JARS = Path(os.environ.get("KIZASHI_LOCAL_KAFKA_JARS") or DEFAULT_FOLDER)
OWNER = "postgres"
LOGIN = "kizashi"


@dataclass(frozen=True)
class TestDatabase:
    """``owner_url`` may do everything; ``url`` is what services get."""

    __test__ = False

    name: str
    owner_url: str
    url: str


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One server per pytest process, with a migrated template database."""
    home = Path(tempfile.mkdtemp(prefix="kizashi-test-"))
    home.chmod(0o755)
    server = start(home / "postgres", durable=False)
    try:
        asyncio.run(_make_template(server))
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


async def _make_template(server: EmbeddedPostgres) -> None:
    owner = await asyncpg.connect(server.url(OWNER, "postgres"))
    await owner.execute("CREATE DATABASE template_kizashi")
    await owner.close()
    await migrate(server.url(OWNER, "template_kizashi"), LOGIN)


@pytest.fixture
async def database(postgres: EmbeddedPostgres) -> AsyncIterator[TestDatabase]:
    """A fresh database with every schema migrated and two workspaces, 1 and 2."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    owner = await asyncpg.connect(postgres.url(OWNER, "postgres"))
    await owner.execute(f"CREATE DATABASE {name} TEMPLATE template_kizashi STRATEGY file_copy")
    url = postgres.url(OWNER, name)
    inside = await asyncpg.connect(url)
    await inside.execute("INSERT INTO access.workspace (workspace_id, name) VALUES (1, 'One'), (2, 'Two')")
    await inside.close()
    yield TestDatabase(name=name, owner_url=url, url=postgres.url(LOGIN, name))
    await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await owner.close()


@pytest.fixture(scope="session")
def kafka_jars(request: pytest.FixtureRequest) -> Path:
    """What brokers of our own are started from, fetched once for all test runs. Without Java or Maven whoever asks is
    skipped; where CI=true that is a failure."""
    capturing = request.config.pluginmanager.getplugin("capturemanager")

    def tell(progress: str) -> None:
        with capturing.global_and_fixture_disabled():
            Terminal(sys.stderr).progress(f"\r\x1b[2K  {progress}")

    try:
        find_java()
        return fetch_jars(JARS, tell)
    except NotStarted as problem:
        missing = f"Nothing of Kafka is tested: {problem}"
    if os.environ.get("CI") == "true":
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def kafka(kafka_jars: Path) -> Iterator[EmbeddedKafka]:
    """One broker per pytest process. Whoever stops or kills brokers starts one of his own, from ``kafka_jars``."""
    home = Path(tempfile.mkdtemp(prefix="kizashi-test-kafka-"))
    server = start_kafka(home / "kafka", durable=False, jars=kafka_jars)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def kafka_topics(kafka: EmbeddedKafka) -> str:
    """The prefix of the event log's topics on that broker. Whoever asks empties them or bears with what is in them."""
    return asyncio.run(make_topics(kafka.url))


AIOKAFKA_LEAVES = (
    "Unclosed AIOKafkaConnection",
    "loop is closed",
    "unclosed transport <_SelectorSocketTransport",
    "unclosed <socket.socket",
)
"""To the collector: a connection that is given up when it is made and the cluster has not said yet what it is. Service
processes close it when they collect it; here the loop is often closed before."""


def _is_of_kafka(item: pytest.Item) -> bool:
    return "kafka" in item.nodeid.lower() or "kafka_jars" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is left open fails the test whose it is, unless aiokafka has left it."""
    for item in filter(_is_of_kafka, items):
        for words in AIOKAFKA_LEAVES:
            item.add_marker(pytest.mark.filterwarnings(f"ignore:{words}:ResourceWarning"))


@pytest.fixture(autouse=True)
def nothing_of_aiokafka_is_left_to_others(request: pytest.FixtureRequest) -> Iterator[None]:
    """Else it would be collected in another test, which does not bear it."""
    yield
    if _is_of_kafka(request.node):
        gc.collect()


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Bytes by their length: what gzip makes holds the time, and the processes of a run must agree on names."""
    return f"{argname}-{len(val)}" if isinstance(val, bytes) else None
