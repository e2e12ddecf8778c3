"""`kizashi doctor` as somebody would call it: with an environment that the test makes, and nothing of ours in it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner, Result

from cli.__main__ import main
from libs.common.api_keys import Scope, new_api_key
from libs.common.testing import free_port
from tests.conftest import TestDatabase

CONFIG = Path(__file__).parents[3] / "config"


@dataclass(frozen=True)
class Examined:
    """What one call said."""

    status: int
    seconds: float
    document: dict[str, Any]
    text: str

    def of(self, code: str) -> list[str]:
        """Sentence and remedy of every finding with this code."""
        return [
            f"{one['sentence']} {one['remedy']}".strip() for one in self.document["findings"] if one["code"] == code
        ]

    @property
    def problems(self) -> list[str]:
        return [one["code"] for one in self.document["findings"] if one["level"] == "problem"]

    @property
    def warnings(self) -> list[str]:
        return [one["code"] for one in self.document["findings"] if one["level"] == "warning"]


class Doctor:
    """Services are looked for where nobody is, unless a test says otherwise."""

    def __init__(self, environment: pytest.MonkeyPatch) -> None:
        self.environment = environment

    def set(self, **variables: str) -> None:
        for name, value in variables.items():
            self.environment.setenv(name, value)

    async def look(self, *options: str) -> Examined:
        began = monotonic()
        result = await self.call("doctor", "--json", *options)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        document = json.loads(result.stdout)
        return Examined(result.exit_code, monotonic() - began, document, result.output)

    async def call(self, *words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, main, words)


@pytest.fixture
def doctor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Doctor:
    for name in [name for name in os.environ if name.startswith("KIZASHI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KIZASHI_HOME", str(tmp_path / "nobody-home"))
    monkeypatch.setenv("KIZASHI_CONFIG_DIR", str(CONFIG))
    for service in ("INGEST", "HEALTH", "PLAYBOOK", "NOTIFY"):
        monkeypatch.setenv(f"KIZASHI_CLI_{service}_URL", f"http://127.0.0.1:{free_port()}")
    return Doctor(monkeypatch)


@pytest.fixture
async def owner(database: TestDatabase, doctor: Doctor) -> AsyncIterator[asyncpg.Connection]:
    """Of an installation with one workspace in use, that the environment names."""
    doctor.set(KIZASHI_DATABASE_URL=database.url)
    connection = await asyncpg.connect(database.owner_url)
    key = new_api_key()
    await connection.execute(
        "INSERT INTO access.api_key (public_id, workspace_id, name, secret_hash, scopes) VALUES ($1, 1, 'a', $2, $3)",
        key.public_id,
        key.secret_hash,
        [scope.value for scope in Scope],
    )
    yield connection
    await connection.close()
