"""Which engines the contract suite of the event log runs on."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.conftest import TestDatabase
from tests.contracts.log_engines import Engine, FragileEngine, FragilePostgresEngine, PostgresEngine


@pytest.fixture(params=["postgres_engine"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Every engine in turn; a new one needs a fixture and its name here."""
    made: Engine = request.getfixturevalue(request.param)
    return made


@pytest.fixture(params=["fragile_postgres_engine"])
def fragile_engine(request: pytest.FixtureRequest) -> FragileEngine:
    """Every engine in turn, on a server of its own."""
    made: FragileEngine = request.getfixturevalue(request.param)
    return made


@pytest.fixture
async def postgres_engine(database: TestDatabase) -> AsyncIterator[PostgresEngine]:
    made = PostgresEngine(database.url, database.owner_url)
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
