"""An event log that delivers exactly the batches that a test wrote down, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

from libs.common.clock import wall_now
from libs.common.errors import RetryLater
from libs.common.event_log import ALL_OF_EACH, Batch, Record, StartAt, TopicPartition
from libs.common.topics import PARTITIONS, Topic


class ScriptedLog:
    """Delivers ``script`` in its order, whatever the positions are; ``delivered`` is set when all of it was taken.

    What is rewound is delivered again at once, from there on. ``broken`` names the partitions that take no record,
    ``stuck`` those that never answer; what is appended is kept in ``appended``. While it is ``silent`` it answers no
    question, and as a frozen broker does it hands out nothing without saying so. It claims to end at ``end``, and what
    waits to have been appended at ``since``.
    """

    def __init__(self, script: Sequence[Batch] = (), identity: str = "scripted") -> None:
        self.script = deque(script)
        self.delivered = asyncio.Event()
        self.dropped: list[TopicPartition] = []
        self.rewound: list[tuple[TopicPartition, int, float]] = []
        self.appended: dict[TopicPartition, list[Record]] = {}
        self.broken: set[TopicPartition] = set()
        self.stuck: set[TopicPartition] = set()
        self.silent = False
        self.end: dict[TopicPartition, int] = {}
        self.since = wall_now()
        self._identity = identity
        self._sources = {batch.source for batch in script}

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def identity(self, topic: Topic) -> str:
        return self._identity

    async def append(self, topic: Topic, records: Sequence[Record], partition: int | None = None) -> None:
        assert partition is not None, "the outbox decides the partition"
        place = TopicPartition(topic, partition)
        if place in self.stuck:
            await asyncio.Event().wait()
        if place in self.broken:
            raise RetryLater(f"{topic}/{partition} has no leader")
        self.appended.setdefault(place, []).extend(records)

    async def ends(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        self._answer()
        places = [TopicPartition(topic, partition) for topic in topics for partition in range(PARTITIONS)]
        return {place: self.end.get(place, 0) for place in places}

    async def starts(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        self._answer()
        return {TopicPartition(topic, partition): 0 for topic in topics for partition in range(PARTITIONS)}

    async def appended_at(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        self._answer()
        return {place: self.since for place, position in positions.items() if position < self.end.get(place, 0)}

    def _answer(self) -> None:
        if self.silent:
            raise RetryLater("the broker is frozen")

    @contextlib.asynccontextmanager
    async def subscribe(self, group: str, topics: Sequence[Topic], start_at: StartAt) -> AsyncIterator[ScriptedLog]:
        for source in sorted(self._sources):
            await start_at(source)
        yield self

    @property
    def owned(self) -> frozenset[TopicPartition]:
        return frozenset(self._sources)

    async def next_batch(
        self, max_records: int, timeout_seconds: float, most_of: Mapping[Topic, int] = ALL_OF_EACH
    ) -> Batch | None:
        if self.script and not self.silent:
            return self.script.popleft()
        if not self.script:
            self.delivered.set()
        await asyncio.sleep(0.001)
        return None

    def rewind(self, source: TopicPartition, position: int, pause_seconds: float) -> None:
        self.rewound.append((source, position, pause_seconds))

    async def drop(self, source: TopicPartition) -> None:
        self.dropped.append(source)

    async def commit(self, source: TopicPartition, position: int) -> None: ...
