"""Real clients, unmodified: what stands around them, and what tests do when one is not installed."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from typing import NoReturn

import asyncpg
import pytest

from deploy.pictures.browser import BROWSERS, headless
from libs.common.event_log import EventLog
from tests.conftest import TestDatabase
from tests.integration.ingest.clients import chromium as browser
from tests.integration.ingest.clients.health import Health, reading
from tests.integration.ingest.clients.install import JAVASCRIPT, JAVASCRIPT_LOCK, PYTHON_CLIENTS, is_current
from tests.integration.ingest.clients.javascript_scripts import Workshop
from tests.integration.ingest.clients.proxy import Proxy
from tests.integration.ingest.clients.site import served
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


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Whoever asks needs Node, and every JavaScript client to be installed."""
    if shutil.which("node") is None:
        missing("Node is not installed (Debian's nodejs, 20 or newer)")
    if not is_current(JAVASCRIPT, JAVASCRIPT_LOCK):
        missing("The JavaScript clients are not installed (make clients)")
    return Workshop.at(tmp_path_factory.mktemp("javascript"))


@pytest.fixture(scope="session")
def devtools() -> Iterator[str]:
    """The address of one Chromium for all tests of a pytest process."""
    command = headless()
    if command is None:
        missing(f"No browser is installed (Debian's chromium; any of {', '.join(BROWSERS)})")
    with browser.running(command) as address:
        yield address


@pytest.fixture
async def chromium(devtools: str) -> AsyncIterator[browser.Chromium]:
    async with browser.connected(devtools) as made:
        yield made


@pytest.fixture(scope="session")
def page_scripts(workshop: Workshop) -> dict[str, bytes]:
    """By the client's name, what its page runs."""
    names = ("segment", "rudderstack", "jitsu")

    async def bundled() -> list[bytes]:
        return await asyncio.gather(*(workshop.bundled(f"{name}_page.js") for name in names))

    return dict(zip(names, asyncio.run(bundled()), strict=True))


@pytest.fixture
async def site(page_scripts: dict[str, bytes]) -> AsyncIterator[str]:
    """The address of a product's site, another one than ingest's 127.0.0.1. Its page /NAME is that of a client."""
    async with served(page_scripts) as port:
        yield f"http://localhost:{port}"
