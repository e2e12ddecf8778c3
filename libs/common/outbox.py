"""The outbox: events are stored with the facts they follow from, in one transaction, and published afterwards."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

import msgspec

from libs.common.db import AsyncConnection, Database, text
from libs.common.errors import InvalidEvent, RetryLater
from libs.common.event_log import EventLog, Record
from libs.common.events import Event, encode
from libs.common.failpoints import failpoint
from libs.common.observability import REGISTRY, Counter, Gauge, get_logger
from libs.common.ownership import LockSession, lock_number
from libs.common.runtime import pause
from libs.common.topics import Topic, partition_of

logger = get_logger(__name__)

MAX_VALUE_BYTES = 900_000
POLL_SECONDS = 0.05
HELD_BACK_SECONDS = 1.0
BATCH = 500

_published = Counter("kizashi_outbox_published_total", "Records published", ["service"], registry=REGISTRY)
_oldest = Gauge("kizashi_outbox_oldest_seconds", "Age of the oldest unpublished row", ["service"], registry=REGISTRY)


@dataclass(frozen=True)
class OutboxRow:
    """A record that waits for publication, with its place in the log decided."""

    topic: Topic
    partition: int
    key: bytes
    value: bytes
    headers: Mapping[str, str]


async def add(connection: AsyncConnection, events: Sequence[Event]) -> None:
    """Store events for publication when the caller's transaction commits.

    Raises InvalidEvent when an event is too large for the log.
    """
    await add_rows(
        connection,
        [OutboxRow(event.destination, partition_of(event.key), event.key, encode(event), {}) for event in events],
    )


async def add_rows(connection: AsyncConnection, rows: Sequence[OutboxRow]) -> None:
    """Takes the keys' locks, sorted, before ids are drawn: so the order of ids is the order per key."""
    if not rows:
        return
    for row in rows:
        if len(row.value) > MAX_VALUE_BYTES:
            raise InvalidEvent("too_large", f"{len(row.value)} bytes for {row.topic}; at most {MAX_VALUE_BYTES}")
    locks = sorted({lock_number(f"outbox {row.topic} {row.key.hex()}") for row in rows})
    await connection.execute(
        text(
            "SELECT pg_advisory_xact_lock(n) FROM (SELECT unnest(CAST(:locks AS bigint[])) AS n ORDER BY 1) AS sorted"
        ),
        {"locks": locks},
    )
    await connection.execute(
        text(
            "INSERT INTO outbox (topic, partition, key, value, headers) "
            "SELECT topic, partition, key, value, headers::jsonb FROM unnest(CAST(:topics AS text[]), "
            "CAST(:partitions AS int[]), CAST(:keys AS bytea[]), CAST(:bodies AS bytea[]), CAST(:headers AS text[])) "
            "WITH ORDINALITY AS given (topic, partition, key, value, headers, n) ORDER BY n"
        ),
        {
            "topics": [row.topic.value for row in rows],
            "partitions": [row.partition for row in rows],
            "keys": [row.key for row in rows],
            "bodies": [row.value for row in rows],
            "headers": [json.dumps(dict(row.headers)) for row in rows],
        },
    )


class Relay:
    """Publishes a service's outbox, oldest first; one process of the service at a time does it.

    At least once: after a crash between acknowledgement and deletion a record is published again, and its readers
    recognise its id. A partition that the log does not take is left out for a second, so that it does not fill the
    window for the others.
    """

    def __init__(self, service: str, database: Database, log: EventLog, lock_url: str) -> None:
        self._service = service
        self._database = database
        self._log = log
        self._lock_url = lock_url
        self._held_back: dict[tuple[Topic, int], float] = {}

    async def run(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set; a lost database or log is waited for."""
        while not stopping.is_set():
            session = LockSession(self._lock_url, f"kizashi_{self._service}_outbox")
            try:
                await session.open()
                await self._lead(session, stopping)
            except RetryLater as exc:
                logger.warning("outbox_waits", detail=str(exc))
                await pause(stopping, 0.5)
            finally:
                await session.close()

    async def _lead(self, session: LockSession, stopping: asyncio.Event) -> None:
        number = lock_number(f"{self._service} outbox relay")
        while not stopping.is_set() and number not in await session.try_lock([number]):
            await pause(stopping, 0.5)
        while not stopping.is_set() and session.alive:
            if not await self.publish_once():
                await pause(stopping, POLL_SECONDS)

    async def publish_once(self) -> int:
        """Publish what is there now, at most one window of it. The answer is how many records were published."""
        now = monotonic()
        self._held_back = {place: until for place, until in self._held_back.items() if until > now}
        async with self._database.transaction() as connection:
            rows = (
                await connection.execute(
                    text(
                        "SELECT id, topic, partition, key, value, headers, "
                        "extract(epoch FROM clock_timestamp() - created_at) AS age FROM outbox "
                        "WHERE topic || '/' || partition <> ALL (CAST(:held AS text[])) ORDER BY id LIMIT :limit"
                    ),
                    {"held": [f"{topic}/{partition}" for topic, partition in self._held_back], "limit": BATCH},
                )
            ).all()
        _oldest.labels(self._service).set(rows[0].age if rows else 0)
        places: dict[tuple[Topic, int], list[tuple[int, Record]]] = defaultdict(list)
        for row in rows:
            headers = {name: str(value).encode() for name, value in _as_dict(row.headers).items()}
            places[Topic(row.topic), row.partition].append((row.id, Record(row.key, row.value, headers)))
        outcomes = await asyncio.gather(*(self._append(place, records) for place, records in places.items()))
        published = [number for numbers in outcomes for number in numbers]
        failpoint("outbox.published")
        if published:
            async with self._database.transaction() as connection:
                await connection.execute(
                    text("DELETE FROM outbox WHERE id = ANY (CAST(:ids AS bigint[]))"), {"ids": published}
                )
            _published.labels(self._service).inc(len(published))
        return len(published)

    async def _append(self, place: tuple[Topic, int], records: Sequence[tuple[int, Record]]) -> list[int]:
        topic, partition = place
        try:
            await self._log.append(topic, [record for _, record in records], partition)
        except RetryLater as exc:
            logger.warning("partition_held_back", topic=topic, partition=partition, detail=str(exc))
            self._held_back[place] = monotonic() + HELD_BACK_SECONDS
            return []
        return [number for number, _ in records]


def _as_dict(headers: object) -> dict[str, object]:
    return msgspec.convert(json.loads(headers) if isinstance(headers, str) else headers, dict[str, object])
