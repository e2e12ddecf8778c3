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
from libs.common.event_log import MAX_RECORD_BYTES, Record, StartAt, TopicPartition
from libs.common.event_log_postgres.append import Appender, Row
from libs.common.event_log_postgres.session import ROLE, LogSession
from libs.common.event_log_postgres.subscription import PostgresSubscription
from libs.common.observability import get_logger
from libs.common.ownership import LockSession
from libs.common.sharing import Sharing
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
        reading = {
            "synchronous_commit": "off",
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
            "enable_bitmapscan": "off",
        }
        self._reader = LogSession(url, f"{name} log reader", reading)
        self._appender = Appender(LogSession(url, f"{name} log writer", {"synchronous_commit": "on"}))
        self._identity: str | None = None
        self._numbers: Mapping[Topic, Sequence[int]] = {}
        self._upkeep: asyncio.Task[None] | None = None

    async def open(self) -> None:
        try:
            await self._meet()
        except BaseException:
            self._reader.disconnect()
            raise
        self._appender.start()
        self._upkeep = asyncio.create_task(self._keep_days(), name="event log upkeep")

    async def _meet(self) -> None:
        """Learn what the database knows, and whether it is what this release expects."""
        identity = await self._reader.fetch("SELECT id, moved_to FROM log.identity")
        _refuse_moved(identity[0]["moved_to"])
        rows = await self._reader.fetch("SELECT topic, number FROM log.topic_partition ORDER BY topic, partition")
        self._numbers = {topic: [row["number"] for row in rows if row["topic"] == topic] for topic in Topic}
        for topic, numbers in self._numbers.items():
            if len(numbers) != PARTITIONS:
                raise NotStarted(
                    f"The event log has {len(numbers)} partitions of {topic} where this release needs {PARTITIONS}; "
                    "run the migrations (python -m libs.common.migrate)."
                )
        await self._reader.fetch("SELECT log.keep_days_ahead()")
        self._identity = str(identity[0]["id"])

    async def close(self) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._upkeep
        await self._appender.close()
        self._reader.close()

    async def identity(self, topic: Topic) -> str:
        if self._identity is None:
            raise RetryLater("the event log is not open")
        return self._identity

    async def append(self, topic: Topic, records: Sequence[Record], partition: int | None = None) -> None:
        numbers = self._numbers_of(topic)
        rows = []
        for one in records:
            if (size := one.size) > MAX_RECORD_BYTES:
                raise InvalidEvent("too_large", f"A record for {topic} has {size} bytes; at most {MAX_RECORD_BYTES}.")
            number = numbers[partition_of(one.key) if partition is None else partition]
            headers = _headers_encoder.encode(one.headers) if one.headers else None
            rows.append(Row(number, one.key, one.value, headers, size))
        await self._appender.append(rows)

    async def ends(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return await self._borders("next", topics)

    async def starts(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return await self._borders("earliest", topics)

    async def appended_at(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        numbers = {self._numbers_of(source.topic)[source.partition]: source for source in positions}
        rows = await self._reader.fetch(
            "SELECT given.number, first.appended_at "
            "FROM unnest($1::smallint[], $2::bigint[]) AS given (number, position) "
            "CROSS JOIN LATERAL (SELECT r.appended_at FROM log.record r WHERE r.number = given.number "
            "AND r.position >= given.position ORDER BY r.position LIMIT 1) AS first",
            list(numbers),
            [positions[source] for source in numbers.values()],
        )
        return {numbers[number]: appended_at for number, appended_at in rows}

    async def _borders(self, column: str, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        """Raises NotStarted too, so that a process which was forgotten on a log that was moved away ends."""
        rows = await self._reader.fetch(
            f"SELECT topic, partition, {column}, moved_to FROM log.topic_partition, log.identity "
            "WHERE topic = ANY ($1)",
            [topic.value for topic in topics],
        )
        found = {}
        for topic, partition, position, moved_to in rows:
            _refuse_moved(moved_to)
            found[TopicPartition(Topic(topic), partition)] = position
        return found

    @contextlib.asynccontextmanager
    async def subscribe(
        self, group: str, topics: Sequence[Topic], start_at: StartAt
    ) -> AsyncIterator[PostgresSubscription]:
        numbers = {
            TopicPartition(topic, partition): number
            for topic in topics
            for partition, number in enumerate(self._numbers_of(topic))
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

    def _numbers_of(self, topic: Topic) -> Sequence[int]:
        """By which the database knows the topic's partitions."""
        if not self._numbers:
            raise RetryLater("the event log is not open")
        return self._numbers[topic]

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


def _refuse_moved(place: str | None) -> None:
    if place is not None:
        raise NotStarted(
            f"The event log of this database was moved to {place}; set KIZASHI_LOG_URL to where it is now (kizashi log "
            "move brings it back)."
        )
