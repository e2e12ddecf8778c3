"""Ingest as one process for many tests: they all send to it, so none may depend on what another left in its log."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import asyncpg
import httpx

from deploy.local.postgres import EmbeddedPostgres
from libs.common.testing import eventually, free_port
from services.ingest.bootstrap import Installed, install
from tests.conftest import LOGIN, OWNER, TestDatabase


@dataclass(frozen=True)
class OneProcess:
    """It answers at 127.0.0.1 and ``port``, and knows one workspace of its ``database``."""

    port: int
    installed: Installed
    database: TestDatabase

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def ingest_process(postgres: EmbeddedPostgres, **variables: str) -> Iterator[OneProcess]:
    """With a database of its own; ``variables`` are further ones of its environment."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    database = TestDatabase(name, owner_url=postgres.url(OWNER, name), url=postgres.url(LOGIN, name))
    asyncio.run(_execute(postgres, f"CREATE DATABASE {name} TEMPLATE template_kizashi STRATEGY file_copy"))
    installed = asyncio.run(install(database.owner_url, "One", "app"))
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "services.ingest"],
        env={name: value for name, value in os.environ.items() if not name.startswith("KIZASHI_")}
        | {
            "KIZASHI_DATABASE_URL": database.url,
            "KIZASHI_INGEST_PORT": str(port),
            "KIZASHI_ENVIRONMENT": "test",
            "KIZASHI_LOGGING_LEVEL": "error",
        }
        | variables,
    )
    try:
        asyncio.run(_readiness(process, port))
        yield OneProcess(port, installed, database)
    finally:
        process.kill()
        process.wait()
        asyncio.run(_execute(postgres, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(postgres: EmbeddedPostgres, statement: str) -> None:
    owner = await asyncpg.connect(postgres.url(OWNER, "postgres"))
    await owner.execute(statement)
    await owner.close()


async def _readiness(process: subprocess.Popen[bytes], port: int) -> None:
    async with httpx.AsyncClient() as probe:

        async def ready() -> bool:
            assert process.poll() is None, "it ended"
            try:
                return (await probe.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(ready, within_seconds=20, what="readiness")
