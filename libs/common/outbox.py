"""The outbox: events are stored with the facts they follow from, in one transaction, and published afterwards."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from zlib import crc32

import msgspec

from libs.common.db import AsyncConnection, Database, text
from libs.common.errors import InvalidEvent, RetryLater
from libs.common.event_log import EventLog, Record, TopicPartition
from libs.common.events import Event, encode
from libs.common.failpoints import failpoint
from libs.common.observability import REGISTRY, Counter, Gauge, get_logger
from libs.common.outbox_window import Floor, age_of_oldest, oldest
from libs.common.ownership import LockSession, lock_number
from libs.common.runtime import pause
from libs.common.topics import Topic, partition_of

logger = get_logger(__name__)

MAX_VALUE_BYTES = 900_000
"""Of an event; a little less than what Kafka takes by default, since headers travel too."""
KEY_LOCKS = 256
"""Keys of a topic share this many locks: one lock per key would let a large batch exhaust the server's lock table."""
POLL_SECONDS = 0.05
STANDBY_SECONDS = 0.5
WINDOW_RECORDS = 500
WINDOW_BYTES = 4_000_000
SLOW_SECONDS = 0.25
"""So long a window waits for its slowest partition; then the others go on without it."""
LONGEST_HOLD_SECONDS = 5.0
"""So soon a log that comes back is noticed, however long it was away."""
UNREADY_SECONDS = 30.0
"""A partition whose oldest records the log has not taken for so long makes the process unready."""

_published = Counter("kizashi_outbox_published_total", "Records published", ["service"], registry=REGISTRY)
_oldest = Gauge("kizashi_outbox_oldest_seconds", "Age of the oldest unpublished row", ["service"], registry=REGISTRY)


@dataclass(frozen=True)
class OutboxRow:
    """A record that waits for publication, with its place in the log decided."""

    topic: Topic
    partition: int
    key: bytes
    value: bytes
    headers: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def record(self) -> Record:
        return Record(self.key, self.value, self.headers)


async def add(connection: AsyncConnection, events: Sequence[Event]) -> None:
    """Store events for publication when the caller's transaction commits. Call it once in a transaction, at its end.

    Raises InvalidEvent when an event is too large for the log.
    """
    rows = [OutboxRow(event.destination, partition_of(event.key), event.key, encode(event)) for event in events]
    for row in rows:
        if len(row.value) > MAX_VALUE_BYTES:
            raise InvalidEvent("too_large", f"{len(row.value)} bytes for {row.topic}; at most {MAX_VALUE_BYTES}")
    await add_rows(connection, rows)


async def add_rows(connection: AsyncConnection, rows: Sequence[OutboxRow]) -> None:
    """Takes the keys' locks, sorted, before ids are drawn, and keeps them until the commit has become visible: so the
    order of ids is, per key, the order in which rows appear."""
    if not rows:
        return
    locks = sorted({lock_number(f"outbox {row.topic} {crc32(row.key) % KEY_LOCKS}") for row in rows})
    await connection.execute(
        text("SELECT pg_advisory_xact_lock(n) FROM unnest(CAST(:locks AS bigint[])) AS sorted (n)"),
        {"locks": locks},
    )
    await connection.execute(
        text(
            "INSERT INTO outbox (topic, partition, key, value, headers) "
            "SELECT topic, partition, key, value, headers FROM unnest(CAST(:topics AS text[]), "
            "CAST(:partitions AS int[]), CAST(:keys AS bytea[]), CAST(:bodies AS bytea[]), CAST(:headers AS bytea[])) "
            "WITH ORDINALITY AS given (topic, partition, key, value, headers, n) ORDER BY n"
        ),
        {
            "topics": [row.topic.value for row in rows],
            "partitions": [row.partition for row in rows],
            "keys": [row.key for row in rows],
            "bodies": [row.value for row in rows],
            "headers": [pack_headers(row.headers) for row in rows],
        },
    )


def pack_headers(headers: Mapping[str, bytes]) -> bytes:
    return msgspec.json.encode(dict(headers))


def unpack_headers(packed: bytes) -> dict[str, bytes]:
    return msgspec.json.decode(packed, type=dict[str, bytes])


class Relay:
    """Publishes a service's outbox, oldest first; one process of the service at a time does it.

    At least once: after a crash between acknowledgement and deletion a record is published again, and its readers
    recognise its id. Each partition has at most one batch under way; one that the log does not take is held back and
    left out, so that it does not fill the window for the others.
    """

    def __init__(
        self, service: str, database: Database, log: EventLog, lock_url: str, unready_seconds: float = UNREADY_SECONDS
    ) -> None:
        self._service = service
        self._database = database
        self._log = log
        self._lock_url = lock_url
        self._under_way: dict[TopicPartition, asyncio.Task[list[int]]] = {}
        self._failures: dict[TopicPartition, int] = {}
        self._held_back_until: dict[TopicPartition, float] = {}
        self._untaken_since: dict[TopicPartition, float] = {}
        self._unready_seconds = unready_seconds
        self._floor = Floor()

    async def ready(self) -> str | None:
        """A readiness check: the log takes what we publish. Who does not publish has nothing to say."""
        if not self._untaken_since:
            return None
        since, place = min((since, place) for place, since in self._untaken_since.items())
        if (seconds := monotonic() - since) <= self._unready_seconds:
            return None
        more = f" ({len(self._untaken_since)} partitions wait)" if len(self._untaken_since) > 1 else ""
        return f"the event log has taken nothing for {place.topic}/{place.partition} for {seconds:.0f} s{more}"

    async def run(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set; a lost database or log is waited for."""
        while not stopping.is_set():
            session = LockSession(self._lock_url, f"kizashi_{self._service}_outbox")
            try:
                await session.open()
                await self._lead(session, stopping)
            except RetryLater as exc:
                logger.warning("outbox_waits", service=self._service, detail=str(exc))
                await pause(stopping, STANDBY_SECONDS)
            finally:
                await self._give_up_what_is_under_way()
                await session.close()

    async def _lead(self, session: LockSession, stopping: asyncio.Event) -> None:
        number = lock_number(f"{self._service} outbox relay")
        while not stopping.is_set() and number not in await session.try_lock([number]):
            await pause(stopping, STANDBY_SECONDS)
        next_look = 0.0
        self._floor = Floor()  # of this server: another may have taken its place, and numbers begin where that one was
        while not stopping.is_set() and session.alive:
            if monotonic() >= next_look:
                await self._note_oldest()
                next_look = monotonic() + 1
            if not await self.publish_once():
                await pause(stopping, POLL_SECONDS)
        _oldest.labels(self._service).set(0)  # of another process from now on

    async def publish_once(self) -> int:
        """Publish what is there now, at most one window of it. The answer is how many records are known to be in the
        log since the last call; those of a slow partition are counted by a later one."""
        started = []
        for place, records in (await self._window()).items():
            self._untaken_since.setdefault(place, monotonic())
            task = asyncio.create_task(self._append(place, records), name=f"publish {place.topic}/{place.partition}")
            self._under_way[place] = task
            started.append(task)
        if started:
            await asyncio.wait(started, timeout=SLOW_SECONDS)
        published: list[int] = []
        for place, task in list(self._under_way.items()):
            if task.done():
                del self._under_way[place]
                published += task.result()
        if published:
            failpoint("outbox.published")
            async with self._database.transaction() as connection:
                await connection.execute(
                    text("DELETE FROM outbox WHERE id = ANY (CAST(:ids AS bigint[]))"), {"ids": published}
                )
            failpoint("outbox.deleted")
            _published.labels(self._service).inc(len(published))
        return len(published)

    async def _window(self) -> Mapping[TopicPartition, Sequence[tuple[int, Record]]]:
        """The oldest rows by place, without the places that are under way or held back."""
        now = monotonic()
        busy = {*self._under_way, *(place for place, until in self._held_back_until.items() if until > now)}
        async with self._database.transaction() as connection:
            rows = await oldest(connection, busy, records=WINDOW_RECORDS, size=WINDOW_BYTES, floor=self._floor.number)
        self._floor.note([row.id for row in rows])
        window: dict[TopicPartition, list[tuple[int, Record]]] = defaultdict(list)
        for row in rows:
            place = TopicPartition(Topic(row.topic), row.partition)
            window[place].append((row.id, Record(row.key, row.value, unpack_headers(row.headers))))
        return window

    async def _append(self, place: TopicPartition, records: Sequence[tuple[int, Record]]) -> list[int]:
        """The numbers of the rows that are in the log now; none when the partition has to be held back."""
        try:
            await self._log.append(place.topic, [record for _, record in records], place.partition)
        except Exception as exc:
            # Whatever the log has against these records, they keep their place, and the other partitions go on.
            failures = self._failures[place] = self._failures.get(place, 0) + 1
            seconds = min(2.0 ** min(failures - 1, 10), LONGEST_HOLD_SECONDS)
            self._held_back_until[place] = monotonic() + seconds
            tell = logger.warning if isinstance(exc, RetryLater) else logger.error
            tell("partition_held_back", topic=place.topic, partition=place.partition, seconds=seconds, detail=str(exc))
            return []
        self._failures.pop(place, None)
        self._held_back_until.pop(place, None)
        self._untaken_since.pop(place, None)
        return [number for number, _ in records]

    async def _note_oldest(self) -> None:
        async with self._database.transaction() as connection:
            await self._floor.look(connection)
            age = await age_of_oldest(connection, self._floor.number)
        _oldest.labels(self._service).set(age or 0)

    async def _give_up_what_is_under_way(self) -> None:
        """What was appended after all is published again by the next leader, as after a crash."""
        tasks = list(self._under_way.values())
        self._under_way.clear()
        self._untaken_since.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
