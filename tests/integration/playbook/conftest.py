"""Playbook with a real PostgreSQL, a clock that tests move, and the loop's place taken by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from libs.common import outbox
from libs.common.api_keys import Scope, new_api_key
from libs.common.clock import FixedClock
from libs.common.db import Database, text
from libs.common.events import Event, TouchCancelled, TouchRequested, decode
from libs.common.web import Probes, make_app
from services.playbook import api
from services.playbook.definitions import Catalogue
from services.playbook.handlers import Handlers, handlings
from services.playbook.step_worker import StepWorker
from tests.conftest import TestDatabase
from tests.unit.playbook.examples import ACCOUNT, NOW, WORKSPACE, catalogue


@dataclass
class House:
    """One installation of playbook. What it publishes stays in the outbox, where tests read it."""

    database: Database
    owner: asyncpg.Connection
    clock: FixedClock
    playbooks: Catalogue

    def edited(self, playbooks: Catalogue) -> House:
        """The same house after a restart with other playbooks."""
        return replace(self, playbooks=playbooks)

    async def tell(self, *events: Event) -> None:
        """One batch, in one transaction, handled as the loop does it."""
        async with self.database.transaction({event.workspace for event in events}) as connection:
            following: list[Event] = []
            for handling in handlings(Handlers(self.playbooks, self.clock)):
                if chosen := [event for event in events if isinstance(event, handling.event_type)]:
                    following += await handling.handle(connection, chosen)
            await outbox.add(connection, following)

    def worker(self) -> StepWorker:
        return StepWorker(self.database, self.playbooks.tiers, self.clock)

    async def do_steps(self) -> None:
        """Everything that is due now."""
        worker = self.worker()
        while await worker.do_one_step():
            pass

    async def after(self, **time: float) -> None:
        self.clock.advance(timedelta(**time))
        await self.do_steps()

    async def published(self) -> list[Event]:
        return [decode(row["value"]) for row in await self.owner.fetch("SELECT value FROM playbook.outbox ORDER BY id")]

    async def touches(self) -> list[TouchRequested]:
        return [event for event in await self.published() if isinstance(event, TouchRequested)]

    async def cancelled(self) -> list[TouchCancelled]:
        return [event for event in await self.published() if isinstance(event, TouchCancelled)]

    async def runs(self) -> list[tuple[str, str, str | None]]:
        """Playbook, state and outcome, in the order of their start."""
        rows = await self.owner.fetch("SELECT playbook, state, outcome FROM playbook.run ORDER BY started_at, playbook")
        return [tuple(row) for row in rows]

    async def timeline(self, account: str = ACCOUNT, workspace: int = WORKSPACE) -> list[tuple[str, str]]:
        """Kind and title, as they were written."""
        rows = await self.owner.fetch(
            "SELECT kind, title FROM playbook.timeline_entry WHERE workspace_id = $1 AND account_id = $2 ORDER BY n",
            workspace,
            account,
        )
        return [tuple(row) for row in rows]

    async def everything(self) -> dict[str, Sequence[tuple[Any, ...]]]:
        """All that is stored, but for what numbers rows."""
        columns = {
            "account": "*",
            "waiting_finding": "*",
            "run": "*",
            "schedule": "*",
            "touch": "*",
            "timeline_entry": "workspace_id, account_id, entry_id, at, kind, title, details",
            "outbox": "topic, key, value",
        }
        return {
            table: sorted(
                (tuple(row) for row in await self.owner.fetch(f"SELECT {chosen} FROM playbook.{table}")), key=str
            )
            for table, chosen in columns.items()
        }


@pytest.fixture
async def owner(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


@pytest.fixture
async def worker_db(database: TestDatabase) -> AsyncIterator[Database]:
    made = Database(database.url, role="kizashi_playbook_worker", schema="playbook")
    yield made
    await made.close()


@pytest.fixture
async def house(worker_db: Database, owner: asyncpg.Connection) -> House:
    return House(worker_db, owner, FixedClock(NOW), catalogue())


@pytest.fixture
async def client(database: TestDatabase, house: House) -> AsyncIterator[httpx.AsyncClient]:
    """The API of ``house``. Send the headers of ``key_for``."""
    api_db = Database(database.url, role="kizashi_playbook_api", schema="playbook")
    app = make_app("Playbook", "Under test", Probes())
    app.include_router(api.routes(api_db, house.playbooks))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://playbook") as made:
        yield made
    await api_db.close()


async def key_for(owner: asyncpg.Connection, workspace: int, *scopes: Scope) -> dict[str, str]:
    """The headers of a caller from this workspace."""
    key = new_api_key()
    await owner.execute(
        "INSERT INTO access.api_key (public_id, workspace_id, name, secret_hash, scopes) "
        "VALUES ($1, $2, 'test', $3, $4)",
        key.public_id,
        workspace,
        key.secret_hash,
        [scope.value for scope in scopes or (Scope.READ,)],
    )
    return {"Authorization": f"Bearer {key.token}"}


async def count(database: Database, table: str, workspaces: Sequence[int]) -> int:
    """How many rows a transaction with these workspaces sees."""
    async with database.transaction(workspaces) as connection:
        return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())
