"""Which engines the contract suite of the event log runs on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.local.kafka import EmbeddedKafka
from tests.conftest import TestDatabase
from tests.contracts.log_engines import (
    Engine,
    FragileEngine,
    FragileKafkaEngine,
    FragilePostgresEngine,
    KafkaEngine,
    PostgresEngine,
)
from tests.fragile_kafka import FragileKafka


@pytest.fixture(params=["postgres", "kafka"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Every engine in turn; a new one needs a fixture and its name here."""
    made: Engine = request.getfixturevalue(f"{request.param}_engine")
    return made


@pytest.fixture(params=["postgres", "kafka"])
def fragile_engine(request: pytest.FixtureRequest) -> FragileEngine:
    """Every engine in turn, on a server of its own."""
    made: FragileEngine = request.getfixturevalue(f"fragile_{request.param}_engine")
    return made


@pytest.fixture
async def postgres_engine(database: TestDatabase) -> AsyncIterator[PostgresEngine]:
    made = PostgresEngine(database.url, database.owner_url)
    yield made
    await made.close()


@pytest.fixture
async def kafka_engine(kafka: EmbeddedKafka, kafka_topics: str, database: TestDatabase) -> AsyncIterator[KafkaEngine]:
    made = await KafkaEngine.make(kafka, kafka_topics, database.url)
    yield made
    await made.close()


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that PostgreSQL's own user may enter."""
    made = Path(tempfile.mkdtemp(prefix="kizashi-fragile-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
async def fragile_postgres_engine(home: Path) -> AsyncIterator[FragilePostgresEngine]:
    made = await FragilePostgresEngine.make(home / "postgres")
    yield made
    await made.close()
    made.stop()


@pytest.fixture(scope="module")
def fragile_kafka(kafka_jars: Path) -> Iterator[FragileKafka]:
    home = Path(tempfile.mkdtemp(prefix="kizashi-fragile-"))
    made = FragileKafka(home / "kafka", kafka_jars)
    yield made
    made.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def fragile_kafka_engine(
    fragile_kafka: FragileKafka, database: TestDatabase
) -> AsyncIterator[FragileKafkaEngine]:
    made = await FragileKafkaEngine.make_fragile(fragile_kafka, database.url)
    yield made
    await made.close()
