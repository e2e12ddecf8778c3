"""The event log on PostgreSQL: the embedded engine, for one database and what one database can carry.

Tables and functions are in ``migrations/log``. A counter row per partition hands out positions; its lock, held until
the commit, makes them gap-free and visible in their order. A record's position is its offset.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

import asyncpg
import msgspec

from libs.common.errors import InvalidEvent, NotStarted, RetryLater
from libs.common.event_log import APPEND_SECONDS, MAX_RECORD_BYTES, Record, StartAt, TopicPartition
from libs.common.event_log_postgres.append import Appender, Row
from libs.common.event_log_postgres.places import Places
from libs.common.event_log_postgres.session import READING, ROLE, LogSession
from libs.common.event_log_postgres.subscription import PostgresSubscription
from libs.common.observability import get_logger
from libs.common.ownership import LockSession
from libs.common.sharing import Sharing
from libs.common.topics import Topic, partition_of

logger = get_logger(__name__)

UPKEEP_SECONDS = 600.0
_headers_encoder = msgspec.msgpack.Encoder()


class PostgresEventLog:
    """One process's access to the log: a session that writes, one that writes history (made when there is any, so that
    nothing else waits for it), one that reads, and one of locks per subscription.

    ``retention_days`` is how long records are kept at least; longer while a group has not read them.
    """

    def __init__(self, url: str, *, name: str, retention_days: int, append_seconds: float = APPEND_SECONDS) -> None:
        self._url = url
        self._name = name
        self._retention_days = retention_days
        self._reader = LogSession(url, f"{name} log reader", READING)
        self._places = Places(self._reader)
        self._appender = self._writer("log writer", append_seconds)
        self._appender_of_history = self._writer("log writer of history", append_seconds)
        self._upkeep: asyncio.Task[None] | None = None

    def _writer(self, role: str, append_seconds: float) -> Appender:
        session = LogSession(self._url, f"{self._name} {role}", {"synchronous_commit": "on"})
        return Appender(session, append_seconds)

    async def open(self) -> None:
        try:
            await self._places.meet()
            await self._reader.fetch("SELECT log.keep_days_ahead()")
        except BaseException:
            self._reader.disconnect()
            raise
        for appender in (self._appender, self._appender_of_history):
            appender.start()
        self._upkeep = asyncio.create_task(self._keep_days(), name="event log upkeep")

    async def close(self) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._upkeep
        for appender in (self._appender, self._appender_of_history):
            await appender.close()
        self._reader.close()

    async def identity(self, topic: Topic) -> str:
        return await self._places.identity(topic)

    async def append(self, topic: Topic, records: Sequence[Record], partition: int | None = None) -> None:
        numbers = self._places.numbers_of(topic)
        rows = []
        for one in records:
            if (size := one.size) > MAX_RECORD_BYTES:
                raise InvalidEvent("too_large", f"A record for {topic} has {size} bytes; at most {MAX_RECORD_BYTES}.")
            number = numbers[partition_of(one.key) if partition is None else partition]
            headers = _headers_encoder.encode(one.headers) if one.headers else None
            rows.append(Row(number, one.key, one.value, headers, size))
        await (self._appender_of_history if topic.is_history else self._appender).append(rows)

    async def ends(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return await self._places.ends(topics)

    async def starts(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return await self._places.starts(topics)

    async def appended_at(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        return await self._places.appended_at(positions)

    @contextlib.asynccontextmanager
    async def subscribe(
        self, group: str, topics: Sequence[Topic], start_at: StartAt
    ) -> AsyncIterator[PostgresSubscription]:
        numbers = {
            TopicPartition(topic, partition): number
            for topic in topics
            for partition, number in enumerate(self._places.numbers_of(topic))
        }
        locks = LockSession(self._url, f"{self._name} log owner", ROLE)
        try:
            await locks.open()
            sharing = Sharing(group, topics, locks)
            subscription = PostgresSubscription(group, numbers, start_at, sharing, self._reader)
            try:
                yield subscription
            finally:
                await subscription.leave()
        finally:
            await locks.close()

    async def _keep_days(self) -> None:
        """Make the coming days' tables and drop those past retention, as long as this process lives."""
        while True:
            try:
                await self._reader.fetch("SELECT log.keep_days_ahead()")
                days = await self._reader.fetch("SELECT day, held_by FROM log.drop_old_days($1)", self._retention_days)
            except (RetryLater, NotStarted, asyncpg.PostgresError) as exc:
                logger.warning("upkeep_failed", detail=str(exc))
            else:
                for day, held_by in days:
                    if held_by:
                        logger.warning("retention_held_back", day=str(day), group=held_by)
                    else:
                        logger.info("day_dropped", day=str(day))
            await asyncio.sleep(UPKEEP_SECONDS)
