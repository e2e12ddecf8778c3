"""The event log on PostgreSQL: the embedded engine, for one database and what one database can carry.

Tables and functions are in ``migrations/log``. A counter row per partition hands out positions; its lock, held until
the commit, makes them gap-free and visible in their order. A record's position is its offset.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import Record, StartAt, TopicPartition
from libs.common.event_log_postgres_append import Appender, Row
from libs.common.event_log_postgres_session import ROLE, LogSession
from libs.common.event_log_postgres_subscription import PostgresSubscription
from libs.common.observability import get_logger
from libs.common.ownership import LockSession
from libs.common.topics import PARTITIONS, Topic, partition_of

logger = get_logger(__name__)

UPKEEP_SECONDS = 600.0
_headers_encoder = msgspec.msgpack.Encoder()


class PostgresEventLog:
    """One process's access to the log: a session that writes, one that reads, and one of locks per subscription.

    ``retention_days`` is how long records are kept at least; longer while a group has not read them.
    """

    def __init__(self, url: str, *, name: str, retention_days: int) -> None:
        self._url = url
        self._name = name
        self._retention_days = retention_days
        # Best-effort notes are all that the reader writes. Plans must not depend on how full a day's table was when
        # they were made.
        self._reader = LogSession(
            url,
            f"{name} log reader",
            {"synchronous_commit": "off", "enable_seqscan": "off", "enable_bitmapscan": "off"},
        )
        self._appender = Appender(LogSession(url, f"{name} log writer", {"synchronous_commit": "on"}))
        self._identity: str | None = None
        self._numbers: Mapping[TopicPartition, int] = {}
        self._upkeep: asyncio.Task[None] | None = None

    async def open(self) -> None:
        rows = await self._reader.fetch("SELECT id FROM log.identity")
        self._identity = str(rows[0]["id"])
        rows = await self._reader.fetch("SELECT topic, partition, number FROM log.topic_partition")
        known = {topic.value: topic for topic in Topic}
        self._numbers = {
            TopicPartition(known[row["topic"]], row["partition"]): row["number"]
            for row in rows
            if row["topic"] in known
        }
        if len(self._numbers) != len(Topic) * PARTITIONS:
            raise NotStarted(
                f"The event log knows {len(self._numbers)} partitions and this release {len(Topic) * PARTITIONS}; "
                "run the migrations (python -m libs.common.migrate)."
            )
        await self._reader.fetch("SELECT log.keep_days_ahead()")
        self._appender.start()
        self._upkeep = asyncio.create_task(self._keep_days(), name="event log upkeep")

    async def close(self) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._upkeep
        await self._appender.close()
        self._reader.terminate()

    async def identity(self) -> str:
        if self._identity is None:
            raise RetryLater("the event log is not open")
        return self._identity

    async def append(self, topic: Topic, records: Sequence[Record], partition: int | None = None) -> None:
        await self._appender.append(
            [
                Row(
                    self._numbers[TopicPartition(topic, partition_of(one.key) if partition is None else partition)],
                    one.key,
                    one.value,
                    _headers_encoder.encode(one.headers) if one.headers else None,
                )
                for one in records
            ]
        )

    async def ends(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return await self._borders("next", topics)

    async def starts(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return await self._borders("earliest", topics)

    async def _borders(self, column: str, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        rows = await self._reader.fetch(
            f"SELECT topic, partition, {column} FROM log.topic_partition WHERE topic = ANY ($1)",
            [topic.value for topic in topics],
        )
        return {TopicPartition(Topic(topic), partition): position for topic, partition, position in rows}

    @contextlib.asynccontextmanager
    async def subscribe(
        self, group: str, topics: Sequence[Topic], start_at: StartAt
    ) -> AsyncIterator[PostgresSubscription]:
        numbers = {source: number for source, number in self._numbers.items() if source.topic in topics}
        locks = LockSession(self._url, f"{self._name} log owner", ROLE)
        try:
            await locks.open()
            subscription = PostgresSubscription(group, numbers, start_at, locks, self._reader)
            try:
                yield subscription
            finally:
                await subscription.note_positions()
        finally:
            await locks.close()

    async def _keep_days(self) -> None:
        """Make the coming days' tables and drop those past retention, as long as this process lives."""
        while True:
            try:
                await self._reader.fetch("SELECT log.keep_days_ahead()")
                for row in await self._reader.fetch(
                    "SELECT day, held_by FROM log.drop_old_days($1)", self._retention_days
                ):
                    if row["held_by"]:
                        logger.warning("retention_held_back", day=str(row["day"]), group=row["held_by"])
                    else:
                        logger.info("day_dropped", day=str(row["day"]))
            except RetryLater as exc:
                logger.info("upkeep_waits", detail=str(exc))
            await asyncio.sleep(UPKEEP_SECONDS)
