"""A database with two services that only count, and an open event log."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from libs.common.consumer import Consumer
from libs.common.db import Database
from libs.common.event_log import EventLog
from libs.common.event_log_open import event_log
from libs.common.testing import eventually
from tests.conftest import TestDatabase
from tests.integration.common import desk as desks
from tests.integration.common import tally
from tests.integration.common.desk import Desk


@dataclass
class World:
    """What a test sees: ``owner`` reads everything, ``worker`` is what ``tally`` itself may do."""

    url: str
    owner_url: str
    owner: asyncpg.Connection
    worker: Database
    log: EventLog

    async def ask(self, query: str, *arguments: Any) -> Any:
        """One value; sees every workspace."""
        return await self.owner.fetchval(query, *arguments)

    async def times(self, service: str = "tally") -> dict[str, int]:
        """How often each event had its effect."""
        rows = await self.owner.fetch(f"SELECT event_id, times FROM {service}.effect")
        return {row["event_id"]: row["times"] for row in rows}

    async def letters(self) -> list[asyncpg.Record]:
        rows: list[asyncpg.Record] = await self.owner.fetch(
            "SELECT * FROM tally.dead_letter ORDER BY topic, partition, log_offset"
        )
        return rows

    async def caught_up(self, service: str = "tally", topic: str = "telemetry") -> bool:
        """Whether every record of the topic is behind the service's positions."""
        return bool(
            await self.ask(
                f"SELECT NOT EXISTS (SELECT FROM log.topic_partition l LEFT JOIN {service}.consumer_position p "
                "ON p.topic = l.topic AND p.partition = l.partition "
                "WHERE l.topic = $1 AND l.next > coalesce(p.next, 0))",
                topic,
            )
        )

    async def until_caught_up(self, service: str = "tally", topic: str = "telemetry") -> None:
        await eventually(lambda: self.caught_up(service, topic), what=f"{service} has read all of {topic}")

    async def position(self, partition: int, topic: str = "telemetry") -> int:
        """How far ``tally`` has read a partition."""
        return (
            await self.ask(
                "SELECT next FROM tally.consumer_position WHERE topic = $1 AND partition = $2", topic, partition
            )
            or 0
        )

    async def until_passed(self, partition: int, position: int) -> None:
        async def passed() -> bool:
            return await self.position(partition) >= position

        await eventually(passed, what=f"partition {partition} is read up to {position}")

    @contextlib.asynccontextmanager
    async def running(self, *loops: Any) -> AsyncIterator[None]:
        """Consumers or relays at work; a failure of one of them is the test's."""
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop.run(stopping))
            try:
                yield
            finally:
                stopping.set()

    async def run_until_caught_up(self, consumer: Consumer, service: str = "tally") -> None:
        async with self.running(consumer):
            await self.until_caught_up(service)


@pytest.fixture
async def world(database: TestDatabase) -> AsyncIterator[World]:
    owner = await asyncpg.connect(database.owner_url)
    await tally.make_service(owner, "tally")
    await tally.make_service(owner, "echo")
    log = event_log(database.url, name="test")
    await log.open()
    worker = tally.worker(database.url, "tally")
    yield World(database.url, database.owner_url, owner, worker, log)
    await worker.close()
    await log.close()
    await owner.close()


@pytest.fixture
async def desk(world: World) -> AsyncIterator[Desk]:
    async with desks.opened(world.url, world.owner, world.log) as opened:
        yield opened
