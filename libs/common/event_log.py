"""The event log's port: ordered, partitioned, durable. One contract suite tests every engine behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, Protocol

import msgspec

from libs.common.topics import Topic

MAX_RECORD_BYTES = 1_040_000
"""Of key, value and headers together: a value of a million bytes fits, on Kafka with its default limits too."""

APPEND_SECONDS = 5.0
"""For an append to be durable, or it raises RetryLater."""


class TopicPartition(NamedTuple):
    topic: Topic
    partition: int


class Record(msgspec.Struct, frozen=True):
    """What travels: opaque bytes. An empty value is a value."""

    key: bytes
    value: bytes
    headers: Mapping[str, bytes] = {}

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        size = len(self.key) + len(self.value)
        if self.headers:  # asked of every record, of which few have any
            size += sum(len(name) + len(value) for name, value in self.headers.items())
        return size


class ReadRecord(Record, frozen=True):
    """A record with its place. Offsets of a partition grow; they may have holes."""

    offset: int = -1


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one partition.

    ``start`` and ``end`` are fetch positions, not offsets of records: reading goes on at ``end``,
    and a hole between them is no loss. ``records`` may be empty when everything between them was a hole.
    """

    source: TopicPartition
    start: int
    end: int
    records: Sequence[ReadRecord]


ALL_OF_EACH: Mapping[Topic, int] = MappingProxyType({})


class Subscription(Protocol):
    """One member of a consumer group. Not shared between tasks.

    A partition changes hands only while its owner is inside ``next_batch``, so a batch in hand is finished first,
    unless the owner is dead or frozen: then somebody else reads the batch again, and the positions' owner decides.
    """

    @property
    def owned(self) -> frozenset[TopicPartition]:
        """The partitions that this member owns at this moment."""

    async def next_batch(
        self, max_records: int, timeout_seconds: float, most_of: Mapping[Topic, int] = ALL_OF_EACH
    ) -> Batch | None:
        """The next batch of any owned partition that is not paused, partitions taking turns; None when
        nothing came in time. Of topics in ``most_of`` there are no more than so many records in it; 0: none are read.

        Positions of newly owned partitions are asked of ``start_at``. A batch advances the position in memory;
        whoever cannot process it calls ``rewind``.
        Raises PositionLost, once, when a position lies outside the log: that partition is held until ``rewind`` is
        called for it, and the others go on. Raises RetryLater when the engine does not answer; after any other error
        than PositionLost the subscription is of no use: leave it and join again.
        """

    def rewind(self, source: TopicPartition, position: int, pause_seconds: float) -> None:
        """Read this partition again from ``position``, after a pause."""

    async def drop(self, source: TopicPartition) -> None:
        """Give up ownership: somebody else moved the position. It may be acquired again later."""

    async def commit(self, source: TopicPartition, position: int) -> None:
        """Tell the engine's own tools how far we are. Best effort with a deadline; we never read it back."""


StartAt = Callable[[TopicPartition], Awaitable[int]]
"""Gives the position to read a newly owned partition from; the caller keeps it (see ``consumer``)."""


class Places(Protocol):
    """Where a log's topics begin and end: what can be known without writing or reading, and changes nothing."""

    async def identity(self, topic: Topic) -> str:
        """Names this log's topic, so that positions of another one are recognised.

        It never changes while the topic's data live, and a topic that was made again has another.
        """

    async def ends(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        """For each partition, the position after everything that was durable when this was called."""

    async def starts(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        """For each partition, the earliest position that can still be read."""

    async def appended_at(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        """When the first record at or after each position was appended, by the log's own clock (never domain time).

        Partitions where nothing waits are left out.
        """


class EventLog(Places, Protocol):
    """One event log. Every call has a deadline: a dead engine is RetryLater, never a hang."""

    async def open(self) -> None:
        """Connect. Raises RetryLater when the engine does not answer, NotStarted when it is not what we expect."""

    async def close(self) -> None: ...

    async def append(self, topic: Topic, records: Sequence[Record], partition: int | None = None) -> None:
        """Durable when it returns. Records go to their keys' partitions, or all to ``partition``.

        After RetryLater they may or may not be in the log: append again and rely on event ids.
        Raises InvalidEvent, and appends none, when a record is larger than MAX_RECORD_BYTES.
        """

    def subscribe(
        self, group: str, topics: Sequence[Topic], start_at: StartAt
    ) -> AbstractAsyncContextManager[Subscription]:
        """Join a group. Each partition has one owner among its members; a dead member's partitions move on."""
