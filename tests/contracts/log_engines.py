"""What the contract suite of the event log needs of an engine besides the port, and how PostgreSQL does it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import asyncpg
import psutil

from deploy.local.postgres import EmbeddedPostgres, start
from libs.common.event_log import EventLog, Record, TopicPartition
from libs.common.event_log_open import event_log
from libs.common.migrate import migrate
from tests.conftest import LOGIN, OWNER


class Engine(Protocol):
    """A log of its own for one test."""

    url: str

    async def client(self) -> EventLog:
        """One more open client, closed when the test ends."""

    async def close(self) -> None: ...

    async def expire(self, source: TopicPartition) -> None:
        """Drop every record that the partition holds now, as retention does when their time has come."""

    async def append_around_hole(self, source: TopicPartition, before: Record, after: Record) -> None:
        """Append two records with at least one offset between them that no record has."""


class FragileEngine(Engine, Protocol):
    """One whose server the test may torment."""

    def freeze(self) -> None:
        """The server neither answers nor closes connections."""

    def thaw(self) -> None: ...

    def stop(self) -> None:
        """Cleanly; connections are refused from then on."""

    def start(self) -> None: ...


class PostgresEngine:
    def __init__(self, url: str, owner_url: str) -> None:
        self.url = url
        self._owner_url = owner_url
        self._clients: list[EventLog] = []

    async def client(self) -> EventLog:
        log = event_log(self.url, name=f"test {len(self._clients)}")
        self._clients.append(log)
        await log.open()
        return log

    async def close(self) -> None:
        for log in self._clients:
            await log.close()

    async def expire(self, source: TopicPartition) -> None:
        """The records become those of a day long gone, which retention then drops as no group needs them."""
        owner = await asyncpg.connect(self._owner_url)
        try:
            async with owner.transaction():
                await owner.execute(
                    "CREATE TABLE log.record_20200101 PARTITION OF log.record "
                    "FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00')"
                )
                await owner.execute(
                    "UPDATE log.record r SET appended_at = '2020-01-01 12:00+00' FROM log.topic_partition p "
                    "WHERE p.number = r.number AND p.topic = $1 AND p.partition = $2",
                    *source,
                )
            await owner.execute("DELETE FROM log.group_position")
            dropped = await owner.fetch("SELECT day, held_by FROM log.drop_old_days(1)")
            assert [row["held_by"] for row in dropped] == [None]
        finally:
            await owner.close()

    async def append_around_hole(self, source: TopicPartition, before: Record, after: Record) -> None:
        writer = await self.client()
        await writer.append(source.topic, [before, Record(b"hole", b"hole"), after], source.partition)
        owner = await asyncpg.connect(self._owner_url)
        await owner.execute("DELETE FROM log.record WHERE key = 'hole'")
        await owner.close()


class FragilePostgresEngine(PostgresEngine):
    """Its server is its own, durable, and may be stopped and frozen."""

    def __init__(self, server: EmbeddedPostgres, data: Path) -> None:
        super().__init__(server.url(LOGIN, "postgres"), server.url(OWNER, "postgres"))
        self._server = server
        self._data = data

    @classmethod
    async def make(cls, data: Path) -> FragilePostgresEngine:
        server = start(data)
        await migrate(server.url(OWNER, "postgres"), LOGIN)
        return cls(server, data)

    def freeze(self) -> None:
        for process in self._processes():
            process.suspend()

    def thaw(self) -> None:
        for process in self._processes():
            process.resume()

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server = start(self._data)

    def _processes(self) -> Sequence[psutil.Process]:
        """The postmaster first, so that it starts no others meanwhile."""
        postmaster = psutil.Process(self._server.pid)
        return [postmaster, *postmaster.children(recursive=True)]
