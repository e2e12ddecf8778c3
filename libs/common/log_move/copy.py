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

from libs.common.errors import InvalidEvent, NotStarted, RetryLater
from libs.common.event_log import EventLog, ReadRecord, TopicPartition
from libs.common.failpoints import failpoint
from libs.common.log_move.logs import RUN_AGAIN
from libs.common.log_move.positions import Passage

AT_ONCE = 4
"""Partitions that are brought over beside each other."""
ROUNDS_WITHOUT_PROGRESS = 5
PAUSE_SECONDS = 1.0
TELL_EVERY_SECONDS = 2.0

Tell = Callable[[str], None]


class Readable(Protocol):
    """Of a log; see MovableLog."""

    async def starts(self) -> Mapping[TopicPartition, int]: ...

    async def ends(self) -> Mapping[TopicPartition, int]: ...

    async def read(self, source: TopicPartition, start: int, end: int) -> Sequence[ReadRecord]: ...


class _Partition:
    """How far one partition is. The new log holds the old one's records before ``found``; what it holds before
    ``looked`` has been compared."""

    def __init__(self, passage: Passage) -> None:
        self.source = passage.source
        self.has_reader = passage.has_reader
        self.found = passage.first
        self.looked = passage.begin
        self.end = passage.first
        self.expected: deque[ReadRecord] = deque()

    @property
    def missing(self) -> int:
        """Positions of the old log whose records have not been found in the new one."""
        return max(self.end - self.found, 0)


class Copy:
    """``passages`` of the sealed ``old`` log into the new one, which is appended to and, as ``readable``, read back.

    ``may_append`` says whether this is still the only move at work.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        *,
        old: Readable,
        new: EventLog,
        readable: Readable,
        may_append: Callable[[], bool],
        tell: Tell,
    ) -> None:
        self._partitions = [_Partition(passage) for passage in passages]
        self._old = old
        self._new = new
        self._readable = readable
        self._may_append = may_append
        self._tell = tell
        self._copied = 0
        self._tell_at = 0.0

    async def run(self) -> int:
        """Returns how many records were copied when the new log holds, read back, all that the old one held.

        Raises NotStarted when it does not come that far; what was copied is recognised by the next run.
        """
        ends = await self._old.ends()
        while True:
            for one in self._partitions:
                one.end = ends[one.source]
            await self._bring_all_over()
            seen, ends = ends, await self._old.ends()
            if seen == ends:  # it is sealed; but to look is cheaper than to be wrong
                return self._copied

    async def _bring_all_over(self) -> None:
        old_starts, starts = await self._old.starts(), await self._readable.starts()
        for one in self._partitions:
            if not one.has_reader:
                one.found, one.looked = max(one.found, old_starts[one.source]), max(one.looked, starts[one.source])
            elif one.missing and one.looked < starts[one.source]:
                raise NotStarted(
                    f"The new log has dropped records of {one.source.topic}/{one.source.partition} that were copied "
                    "and not read yet. Give this move up (--give-up) and begin it again: the old log has them."
                )
        waiting = deque(one for one in self._partitions if one.missing)

        async def work() -> None:
            while waiting:
                await self._bring_over(waiting.popleft())

        workers = [asyncio.create_task(work()) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _bring_over(self, one: _Partition) -> None:
        fewest, idle = one.missing, 0
        while idle < ROUNDS_WITHOUT_PROGRESS:
            trouble = "it does not give back what it acknowledged"
            try:
                await self._recognise(one)
                if not one.missing:
                    return
                await self._append(one)
            except RetryLater as exc:
                trouble = str(exc)
                self._say(f"Waiting: {trouble}")
                await asyncio.sleep(PAUSE_SECONDS)
            fewest, idle = (one.missing, 0) if one.missing < fewest else (fewest, idle + 1)
        raise NotStarted(f"{one.source.topic}/{one.source.partition} cannot be brought over: {trouble}. {RUN_AGAIN}")

    async def _recognise(self, one: _Partition) -> None:
        """Go through what the new log holds by now, and on in the old one with every record that is its next."""
        end = (await self._readable.ends())[one.source]
        while one.missing and (held := await self._readable.read(one.source, one.looked, end)):
            for record in held:
                if not one.expected:
                    await self._expect_more(one)
                if one.expected and _same(one.expected[0], record):
                    one.found = one.expected.popleft().offset + 1
                one.looked = record.offset + 1
            self._say_progress()
        if not one.expected:
            await self._expect_more(one)

    async def _expect_more(self, one: _Partition) -> None:
        if one.missing:
            one.expected.extend(await self._old.read(one.source, one.found, one.end))
            if not one.expected:
                one.found = one.end  # nothing but holes until there

    async def _append(self, one: _Partition) -> None:
        """What the new log does not hold, in order: the next batch goes when the one before it is durable."""
        position = one.found
        records: Sequence[ReadRecord] = list(one.expected)
        while records:
            if not self._may_append():
                raise NotStarted(f"The session that keeps other moves away is gone, so this one stopped. {RUN_AGAIN}")
            try:
                await self._new.append(one.source.topic, records, one.source.partition)
            except InvalidEvent as exc:
                raise NotStarted(
                    f"The new log cannot hold a record of {one.source.topic}/{one.source.partition} between "
                    f"{records[0].offset} and {records[-1].offset}: {exc} Let its reader take it on the old log first "
                    "(--give-up, and start the services)."
                ) from exc
            failpoint("log_move.appended")
            self._copied += len(records)
            self._say_progress()
            position = records[-1].offset + 1
            records = await self._old.read(one.source, position, one.end)

    def _say_progress(self) -> None:
        missing = sum(one.missing for one in self._partitions)
        self._say(f"{self._copied:,} records copied, {missing:,} to be found in the new log")

    def _say(self, sentence: str) -> None:
        """At most now and then."""
        if monotonic() >= self._tell_at:
            self._tell_at = monotonic() + TELL_EVERY_SECONDS
            self._tell(sentence)


def _same(one: ReadRecord, other: ReadRecord) -> bool:
    return one.value == other.value and one.key == other.key and dict(one.headers) == dict(other.headers)
