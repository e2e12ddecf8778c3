"""Group commit: what a process appends while one transaction is on its way travels together in the next."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import asyncpg

from libs.common.deadline import Deadline
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


class _Waiting(NamedTuple):
    """Part of a call that fits into one transaction; its ``rows`` are gone as soon as nobody waits for them any more.
    The call is ``durable`` with the last of its parts, and with a failure of one no other is stored."""

    rows: list[Row]
    size: int
    durable: asyncio.Future[None]
    is_last: bool


class Appender:
    """Takes rows from many tasks and stores them in their order, one transaction at a time."""

    def __init__(self, session: LogSession, append_seconds: float) -> None:
        self._session = session
        self._deadline = Deadline(append_seconds)
        self._queue: deque[_Waiting] = deque()
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
        for waiting in self._queue:
            _fail(waiting, RetryLater("the event log was closed"))
        self._queue.clear()
        self._session.close()

    async def append(self, rows: Sequence[Row]) -> None:
        """Returns when all rows are durable. Raises RetryLater when that takes too long, or at once when too much
        waits."""
        if not rows:
            return
        chunks = _chunks(rows)
        try:
            await self._deadline.wait(self._enqueue(chunks))
        except TimeoutError as exc:
            raise RetryLater("the event log did not take the records in time") from exc
        finally:
            for chunk in chunks:
                chunk.clear()  # else one that is given up is kept as long as a transaction before it hangs

    def _enqueue(self, chunks: Sequence[list[Row]]) -> asyncio.Future[None]:
        if self._task is None or self._task.done():
            raise RetryLater("the event log is not open")
        if self._waiting_bytes > MAX_WAITING_BYTES:
            raise RetryLater("the event log has too much to store already")
        durable: asyncio.Future[None] = self._task.get_loop().create_future()
        for chunk in chunks:
            waiting = _Waiting(chunk, _size(chunk), durable, is_last=chunk is chunks[-1])
            self._queue.append(waiting)
            self._waiting_bytes += waiting.size
        self._news.set()
        return durable

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            gathered = self._gather()
            if not gathered:
                self._news.clear()
                continue
            try:
                with append_seconds.time():
                    await self._store([row for waiting in gathered for row in waiting.rows])
            except asyncio.CancelledError:
                for waiting in gathered:
                    _fail(waiting, RetryLater("the event log was closed"))
                raise
            except Exception as exc:
                for waiting in gathered:
                    _fail(waiting, exc)
            else:
                appended.inc(sum(len(waiting.rows) for waiting in gathered))
                for waiting in gathered:
                    if waiting.is_last and not waiting.durable.done():
                        waiting.durable.set_result(None)

    def _gather(self) -> list[_Waiting]:
        """The oldest that fit into one transaction, without those whose caller has gone."""
        gathered: list[_Waiting] = []
        rows = size = 0
        while self._queue:
            first = self._queue[0]
            if gathered and (
                rows + len(first.rows) > ROWS_PER_TRANSACTION or size + first.size > BYTES_PER_TRANSACTION
            ):
                break
            self._queue.popleft()
            self._waiting_bytes -= first.size
            if not first.durable.done():
                gathered.append(first)
                rows += len(first.rows)
                size += first.size
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


def _fail(waiting: _Waiting, why: Exception) -> None:
    if not waiting.durable.done():
        waiting.durable.set_exception(why)
