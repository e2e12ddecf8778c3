"""Copies what a log holds into another one, and stops only when it has read all of it back from there.

What is in the new log already is recognised by its bytes: the copied records are the old ones in their order, with
whatever anybody else appended in between. So a copy that was killed anywhere is simply begun again and goes on where
the new log ends, nothing has to be noted on the way, and records keep their headers as they are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Protocol

from libs.common.errors import NotStarted, PositionLost, RetryLater
from libs.common.event_log import EventLog, ReadRecord, TopicPartition
from libs.common.failpoints import failpoint
from libs.common.log_move_origin import RUN_AGAIN
from libs.common.log_move_positions import Passage
from libs.common.topics import Topic

GROUP = "log-move"
"""Of the only member that reads back. It keeps no position."""
AT_ONCE = 4
"""Partitions that are copied beside each other."""
READ_BACK_RECORDS = 5_000
READ_BACK_SECONDS = 60.0
"""Without a record that the log's own end promises."""
ROUNDS_WITHOUT_PROGRESS = 5
PAUSE_SECONDS = 1.0
TELL_EVERY_SECONDS = 2.0

Tell = Callable[[str], None]


class Readable(Protocol):
    """A sealed log."""

    async def ends(self) -> Mapping[TopicPartition, int]: ...

    async def read(self, source: TopicPartition, start: int, end: int) -> Sequence[ReadRecord]:
        """The next records from ``start`` on, before ``end``; none when there is none."""


class _Partition:
    """How far one partition is. The new log holds the old one's records before ``found``; what it holds before
    ``looked`` has been compared."""

    def __init__(self, origin: Readable, passage: Passage, end: int) -> None:
        self.source = passage.source
        self.end = end
        self.found = passage.first
        self.looked = passage.begin
        self._origin = origin
        self._expected: deque[ReadRecord] = deque()

    @property
    def complete(self) -> bool:
        return self.found >= self.end

    async def recognise(self, records: Sequence[ReadRecord], end: int) -> None:
        """Go on in the old log with every record of the new one that is the next."""
        for record in records:
            if not self._expected and not self.complete:
                await self._expect_more()
            if self._expected and _same(self._expected[0], record):
                self.found = self._expected.popleft().offset + 1
                if not self._expected and not self.complete:
                    await self._expect_more()
        self.looked = end

    async def _expect_more(self) -> None:
        self._expected.extend(await self._origin.read(self.source, self.found, self.end))
        if not self._expected:
            self.found = self.end  # nothing but holes until there


class Copy:
    """``passages`` of a sealed log into ``destination``. ``holds`` says whether this process may still append."""

    def __init__(
        self,
        origin: Readable,
        destination: EventLog,
        passages: Sequence[Passage],
        *,
        holds: Callable[[], bool],
        tell: Tell,
    ) -> None:
        self._origin = origin
        self._destination = destination
        self._passages = passages
        self._holds = holds
        self._tell = tell
        self._partitions: Mapping[TopicPartition, _Partition] = {}
        self._total = self._copied = 0
        self._tell_at = 0.0

    async def run(self) -> int:
        """Returns how many records were copied when the new log holds, read back, all that the old one held.

        Raises NotStarted when it does not come that far; what was copied is recognised by the next run.
        """
        ends = await self._origin.ends()
        self._partitions = {one.source: _Partition(self._origin, one, ends[one.source]) for one in self._passages}
        self._total = sum(max(one.end - one.found, 0) for one in self._partitions.values())
        best, idle = -1, 0
        while idle <= ROUNDS_WITHOUT_PROGRESS:
            trouble = "it does not give back what it acknowledged"
            try:
                await self._read_back()
                missing = [one for one in self._partitions.values() if not one.complete]
                if not missing:
                    return self._copied
                await self._append_to_all(missing)
            except RetryLater as exc:
                trouble = str(exc)
                self._tell(f"The new log is waited for: {trouble}")
                await asyncio.sleep(PAUSE_SECONDS)
            found = sum(one.found for one in self._partitions.values())
            best, idle = (found, 0) if found > best else (best, idle + 1)
        raise NotStarted(f"The new log does not take the records ({trouble}). {RUN_AGAIN}")

    # --- what is there ---

    async def _read_back(self) -> None:
        """Recognise what the new log holds by now."""
        topics = sorted({one.source.topic for one in self._partitions.values()})
        ends = await self._destination.ends(topics)
        for topic in topics:
            unread = {
                source: one
                for source, one in self._partitions.items()
                if source.topic == topic and not one.complete and one.looked < ends[source]
            }
            if unread:
                await self._read_back_topic(topic, unread, ends)

    async def _read_back_topic(
        self, topic: Topic, unread: dict[TopicPartition, _Partition], ends: Mapping[TopicPartition, int]
    ) -> None:
        async def begin(source: TopicPartition) -> int:
            return self._partitions[source].looked if source in self._partitions else ends[source]

        heard_at = monotonic()
        async with self._destination.subscribe(GROUP, [topic], begin) as subscription:
            while unread:
                try:
                    batch = await subscription.next_batch(READ_BACK_RECORDS, 1.0)
                except PositionLost as exc:
                    raise NotStarted(
                        f"The new log has dropped what was copied before anybody read it ({exc}) Give this move up "
                        "(--give-up) and begin it again; the old log still holds everything."
                    ) from exc
                if batch is None:
                    if monotonic() - heard_at > READ_BACK_SECONDS:
                        raise RetryLater(f"{topic} ends before its own end")
                    continue
                heard_at = monotonic()
                partition = self._partitions[batch.source]
                await partition.recognise(batch.records, batch.end)
                if partition.complete or batch.end >= ends[batch.source]:
                    unread.pop(batch.source, None)
                self._tell_progress("read back")

    # --- what is missing ---

    async def _append_to_all(self, partitions: Sequence[_Partition]) -> None:
        waiting = deque(partitions)

        async def work() -> None:
            while waiting:
                await self._append(waiting.popleft())

        workers = [asyncio.create_task(work()) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _append(self, partition: _Partition) -> None:
        """What the new log does not hold, in order: the next batch goes when the one before it is durable."""
        position = partition.found
        while records := await self._origin.read(partition.source, position, partition.end):
            if not self._holds():
                raise NotStarted(
                    "The session that keeps other moves away is gone, so this one stopped; run the same command again."
                )
            await self._destination.append(partition.source.topic, records, partition.source.partition)
            failpoint("log_move.appended")
            position = records[-1].offset + 1
            self._copied += len(records)
            self._tell_progress("copied")
        if position == partition.found:
            partition.found = partition.end  # nothing but holes until there

    def _tell_progress(self, what: str) -> None:
        if monotonic() < self._tell_at:
            return
        self._tell_at = monotonic() + TELL_EVERY_SECONDS
        done = (
            self._copied
            if what == "copied"
            else self._total - sum(max(one.end - one.found, 0) for one in self._partitions.values())
        )
        self._tell(f"{done:,} of {self._total:,} records {what}")


def _same(one: ReadRecord, other: ReadRecord) -> bool:
    return one.value == other.value and one.key == other.key and dict(one.headers) == dict(other.headers)
