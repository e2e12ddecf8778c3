"""Group commit: what a process appends while one transaction is on its way travels together in the next."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import asyncpg

from libs.common.deadline import Deadline, Outcome, tell
from libs.common.errors import RetryLater
from libs.common.event_log_metrics import append_seconds, appended
from libs.common.event_log_postgres.session import LogSession

ROWS_PER_TRANSACTION = 5_000
BYTES_PER_TRANSACTION = 4_000_000
ROW_OVERHEAD_BYTES = 100
"""Of the objects that hold a record while it waits."""
MAX_WAITING_BYTES = 64_000_000
"""More than this is refused at once: PostgreSQL is seconds behind, and memory is not the place to wait."""


class Row(NamedTuple):
    """A record of ``size`` bytes for the partition that the database knows by ``number``; ``headers`` None: none."""

    number: int
    key: bytes
    value: bytes
    headers: bytes | None
    size: int


@dataclass(slots=True, eq=False)
class _Part:
    """Of a call, as much as fits into one transaction. The call is durable with the last of its parts, and with a
    failure of one no other is stored. ``size`` is what it counts for among what waits."""

    rows: list[Row]
    size: int
    outcome: Outcome
    is_last: bool


class Appender:
    """Takes rows from many tasks and stores them in their order, one transaction at a time."""

    def __init__(self, session: LogSession, append_seconds: float) -> None:
        self._session = session
        self._deadline = Deadline(append_seconds, "the event log did not take the records in time")
        self._queue: deque[_Part] = deque()
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="event log appender")

    async def close(self) -> None:
        """Give up what is waiting: its callers get RetryLater."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        for part in self._queue:
            tell(part.outcome, RetryLater("the event log was closed"))
        self._queue.clear()
        self._session.close()

    async def append(self, rows: Sequence[Row]) -> None:
        """Returns when all rows are durable. Raises RetryLater when that takes too long, or at once when too much
        waits. Whoever calls with many transactions' worth lets all others wait for it."""
        if not rows:
            return
        parts = self._enqueue(_chunks(rows))
        try:
            await self._deadline.wait(parts[-1].outcome)
        finally:
            for part in parts:  # one that is given up would be kept as long as a transaction before it hangs
                self._let_go(part)

    def _enqueue(self, chunks: Sequence[list[Row]]) -> list[_Part]:
        if self._task is None or self._task.done():
            raise RetryLater("the event log is not open")
        if self._waiting_bytes > MAX_WAITING_BYTES:
            raise RetryLater("the event log has too much to store already")
        outcome: Outcome = self._task.get_loop().create_future()
        parts = [_Part(chunk, _size(chunk), outcome, is_last=chunk is chunks[-1]) for chunk in chunks]
        self._queue += parts
        self._waiting_bytes += sum(part.size for part in parts)
        self._news.set()
        return parts

    def _let_go(self, part: _Part) -> None:
        self._waits_no_longer(part)
        part.rows.clear()

    def _waits_no_longer(self, part: _Part) -> None:
        self._waiting_bytes -= part.size
        part.size = 0

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            gathered = self._gather()
            if not gathered:
                self._news.clear()
                continue
            try:
                with append_seconds.time():
                    await self._store([row for part in gathered for row in part.rows])
            except asyncio.CancelledError:
                _tell_all(gathered, RetryLater("the event log was closed"))
                raise
            except RetryLater as exc:
                _tell_all(gathered, RetryLater(str(exc)))  # without the frames that hold the rows
            except Exception as exc:
                _tell_all(gathered, exc)
            else:
                appended.inc(sum(len(part.rows) for part in gathered))
                _tell_all([part for part in gathered if part.is_last])

    def _gather(self) -> list[_Part]:
        """The oldest that fit into one transaction, without those whose caller has gone."""
        gathered: list[_Part] = []
        rows = size = 0
        while self._queue:
            first = self._queue[0]
            if gathered and (
                rows + len(first.rows) > ROWS_PER_TRANSACTION or size + first.size > BYTES_PER_TRANSACTION
            ):
                break
            self._queue.popleft()
            if not first.outcome.done():
                gathered.append(first)
                rows += len(first.rows)
                size += first.size
            self._waits_no_longer(first)
        return gathered

    async def _store(self, rows: list[Row]) -> None:
        rows.sort(key=_number)  # stable: within a partition the order stays
        numbers: list[int] = []
        counts: list[int] = []
        ranks: list[int] = []
        for number, group in groupby(rows, key=_number):
            count = sum(1 for _ in group)
            numbers.append(number)
            counts.append(count)
            ranks += range(count)
        row_numbers, keys, values, headers, _ = zip(*rows, strict=True)
        arguments = (numbers, counts, row_numbers, ranks, keys, values, headers)
        try:
            await self._session.fetch(STORE, *arguments)
        except asyncpg.CheckViolationError:  # nobody has made today's table: every process was away for days
            await self._session.fetch("SELECT log.keep_days_ahead()")
            await self._session.fetch(STORE, *arguments)


_number = itemgetter(0)
STORE = "SELECT log.append($1, $2, $3, $4, $5, $6, $7)"


def _chunks(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows in pieces that fit into one transaction each."""
    chunks: list[list[Row]] = []
    begin = size = 0
    for index, row in enumerate(rows):
        if index > begin and (size + row.size > BYTES_PER_TRANSACTION or index - begin >= ROWS_PER_TRANSACTION):
            chunks.append(list(rows[begin:index]))
            begin, size = index, 0
        size += row.size
    return [*chunks, list(rows[begin:])]


def _size(rows: Sequence[Row]) -> int:
    return sum(row.size + ROW_OVERHEAD_BYTES for row in rows)


def _tell_all(parts: Iterable[_Part], why_not: Exception | None = None) -> None:
    for part in parts:
        tell(part.outcome, why_not)
