"""A member of a consumer group on the PostgreSQL engine: which partitions are its own, and what is new in them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType

import msgspec

from libs.common.errors import PositionLost, RetryLater
from libs.common.event_log import ALL_OF_EACH, Batch, ReadRecord, StartAt, TopicPartition
from libs.common.event_log_postgres.session import LogSession
from libs.common.observability import get_logger
from libs.common.sharing import Sharing
from libs.common.topics import Topic
from libs.common.turns import Turns

logger = get_logger(__name__)

BATCH_BYTES = 4_000_000
FASTEST_POLL_SECONDS = 0.01
SLOWEST_POLL_SECONDS = 0.05
NOTE_SECONDS = 1.0
"""Between two notes for retention and lag tools of how far the group is."""

_NO_HEADERS: Mapping[str, bytes] = MappingProxyType({})
_headers_decoder = msgspec.msgpack.Decoder(dict[str, bytes])

POLL = "SELECT number, earliest, next FROM log.topic_partition WHERE number = ANY ($1::smallint[])"
# The inner limit bounds the work, the outer condition the bytes; the first record always passes.
FETCH = """SELECT position, key, value, headers FROM (
    SELECT *, sum(octet_length(value)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - octet_length(value) AS before
    FROM (SELECT position, key, value, headers FROM log.record WHERE number = $1 AND position >= $2
          ORDER BY position LIMIT $3) AS first
) AS sized WHERE before < $4"""
NOTE = """INSERT INTO log.group_position (group_name, number, position)
    SELECT $1, number, position FROM unnest($2::smallint[], $3::bigint[]) AS given (number, position) ORDER BY number
    ON CONFLICT (group_name, number) DO UPDATE SET position = excluded.position, noted_at = now()"""


@dataclass(slots=True)
class _Owned:
    """A partition of ours. ``earliest`` and ``next`` are as of the last poll, unknown (None) before the first."""

    source: TopicPartition
    number: int
    position: int
    earliest: int | None = None
    next: int | None = None
    paused_until: float = 0.0
    served: int = 0

    def has_news(self, now: float) -> bool:
        """As far as known."""
        return self.next is not None and self.next > self.position and self.paused_until <= now

    def check(self, now: float) -> None:
        """Raises PositionLost when the position lies outside what the log holds, and holds the partition from then
        on, until it is rewound."""
        if self.earliest is None or self.next is None or self.paused_until > now:
            return
        if not self.earliest <= self.position <= self.next:
            self.paused_until = math.inf
            raise PositionLost(self.source, self.position, self.earliest, self.next)


class PostgresSubscription:
    """Everything happens inside ``next_batch``, so a partition changes hands only between batches."""

    def __init__(
        self,
        group: str,
        numbers: Mapping[TopicPartition, int],
        start_at: StartAt,
        sharing: Sharing,
        reader: LogSession,
    ) -> None:
        self._group = group
        self._numbers = numbers
        self._start_at = start_at
        self._sharing = sharing
        self._reader = reader
        self._topics: Sequence[Topic] = sorted({source.topic for source in numbers})
        self._owned: dict[TopicPartition, _Owned] = {}
        self._committed: dict[int, int] = {}
        self._batches = 0
        self._turns = Turns(self._topics)
        self._next_note = self._next_poll = 0.0
        self._poll_interval = FASTEST_POLL_SECONDS

    @property
    def owned(self) -> frozenset[TopicPartition]:
        return frozenset(self._owned)

    async def next_batch(
        self, max_records: int, timeout_seconds: float, most_of: Mapping[Topic, int] = ALL_OF_EACH
    ) -> Batch | None:
        deadline = monotonic() + timeout_seconds
        while True:
            now = monotonic()
            if not self._sharing.alive:
                raise RetryLater(f"{self._group} lost the session that holds its partitions")
            if self._sharing.due:
                await self._share()
            if now >= self._next_note:
                await self._note_positions()
            if now >= self._next_poll:
                await self._poll(most_of)
            chosen = self._whose_turn(most_of)
            if chosen is not None:
                return await self._fetch(chosen, min(max_records, most_of.get(chosen.source.topic, max_records)))
            if (now := monotonic()) >= deadline:
                return None
            await asyncio.sleep(max(min(self._next_poll, deadline) - now, 0))

    def rewind(self, source: TopicPartition, position: int, pause_seconds: float) -> None:
        if (owned := self._owned.get(source)) is not None:
            owned.position = position
            owned.paused_until = monotonic() + pause_seconds

    async def drop(self, source: TopicPartition) -> None:
        self._committed.pop(self._numbers[source], None)
        self._owned.pop(source, None)
        await self._sharing.drop(source)

    async def commit(self, source: TopicPartition, position: int) -> None:
        self._committed[self._numbers[source]] = position

    async def leave(self) -> None:
        """Say how far we came, as long as the partitions are ours to speak for."""
        if self._sharing.alive:
            try:
                await self._note_positions()
            except RetryLater as exc:
                logger.info("positions_not_noted", group=self._group, detail=str(exc))

    async def _note_positions(self) -> None:
        if self._committed:
            await self._reader.fetch(NOTE, self._group, list(self._committed), list(self._committed.values()))
            self._committed.clear()
        self._next_note = monotonic() + NOTE_SECONDS

    async def _share(self) -> None:
        """Give up what is above our share and take what is free below it."""
        plan = await self._sharing.look(self._owned)
        if plan.surplus:
            await self._note_positions()
            for source in plan.surplus:
                self._owned.pop(source, None)
            await self._sharing.release(plan.surplus)
        for source in await self._sharing.take(plan.wanted):
            position = await self._start_at(source)
            self._owned[source] = _Owned(source, self._numbers[source], position)
            self._committed.setdefault(self._numbers[source], position)
            self._next_poll = 0.0

    # --- reading ---

    async def _poll(self, most_of: Mapping[Topic, int]) -> None:
        """Ask what is new everywhere; seldom when little happens that is wanted. Raises PositionLost."""
        await self._look()
        if self._ready(most_of):
            self._poll_interval = FASTEST_POLL_SECONDS
        else:
            self._poll_interval = min(self._poll_interval * 1.5, SLOWEST_POLL_SECONDS)
        self._next_poll = monotonic() + self._poll_interval

    async def _look(self) -> None:
        """At where each partition begins and ends now. Raises PositionLost."""
        rows = await self._reader.fetch(POLL, [owned.number for owned in self._owned.values()])
        found = {row["number"]: row for row in rows}
        for owned in self._owned.values():
            owned.earliest, owned.next = found[owned.number]["earliest"], found[owned.number]["next"]
        now = monotonic()
        for owned in self._owned.values():
            owned.check(now)

    def _ready(self, most_of: Mapping[Topic, int]) -> Sequence[_Owned]:
        """The partitions with news, of topics that are wanted."""
        now = monotonic()
        return [owned for owned in self._owned.values() if owned.has_news(now) and most_of.get(owned.source.topic, 1)]

    def _whose_turn(self, most_of: Mapping[Topic, int]) -> _Owned | None:
        """The partition with news that has waited longest, of the topic whose turn it is."""
        ready = self._ready(most_of)
        if not ready:
            return None
        chosen = min(ready, key=lambda owned: (self._turns.of(owned.source.topic), owned.served))
        self._batches += 1
        chosen.served = self._batches
        return chosen

    async def _fetch(self, owned: _Owned, max_records: int) -> Batch:
        """The next records of a partition that has news. Raises PositionLost."""
        start, known_end = owned.position, owned.next
        rows = await self._reader.fetch(FETCH, owned.number, start, max_records, BATCH_BYTES)
        end = rows[-1]["position"] + 1 if rows else known_end
        assert end is not None
        if len(rows) != end - start:
            # Appends leave no holes, so more likely the records have just been dropped, and another look will tell.
            await self._look()
        owned.position = end
        self._turns.served(owned.source.topic, end - start)
        return Batch(
            owned.source,
            start,
            end,
            [
                ReadRecord(key, value, _NO_HEADERS if headers is None else _headers_decoder.decode(headers), position)
                for position, key, value, headers in rows
            ],
        )
