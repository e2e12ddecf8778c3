"""Real clients, unmodified: what stands around them, and what tests do when one is not installed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import NoReturn

import asyncpg
import pytest

from libs.common.event_log import EventLog
from tests.conftest import TestDatabase
from tests.integration.ingest.clients.health import Health, reading
from tests.integration.ingest.clients.install import PYTHON_CLIENTS, is_current
from tests.integration.ingest.clients.proxy import Proxy
from tests.integration.ingest.conftest import Tenant


def missing(what: str) -> NoReturn:
    """Skips the test with a sentence; where CI=true that is a failure."""
    sentence = f"{what}, so how it behaves is not tested."
    if os.environ.get("CI") == "true":
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


@pytest.fixture
def python_clients() -> None:
    """Whoever asks needs every Python client to be installed."""
    for client in PYTHON_CLIENTS:
        if not is_current(client.folder, client.lock):
            missing(f"{client} is not installed (make clients)")


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """Forwards nowhere yet: give it a ``target``."""
    async with Proxy().listening() as made:
        yield made


@pytest.fixture
async def health(
    database: TestDatabase,
    owner: asyncpg.Connection,
    log: EventLog,
    tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Health]:
    """Reads the log from its beginning, and is asked with the tenant's key."""
    for name in [name for name in os.environ if name.startswith("KIZASHI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KIZASHI_DATABASE_URL", database.url)
    monkeypatch.setenv("KIZASHI_ENVIRONMENT", "test")
    async with reading(owner, log, tenant.admin) as made:
        yield made
