"""Rows in, acknowledged batches out: some in flight, all of them acknowledged in the order of the file."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from time import monotonic
from typing import Protocol

import msgspec

from cli.imports import journal as journals
from cli.imports.calls import Calls
from cli.imports.journal import Journal
from cli.imports.names import Kind
from cli.imports.problems import RowRefused
from cli.imports.rejects import Refused, Rejects
from cli.imports.rows import Row
from cli.imports.sending import BATCH_BYTES, BATCH_EVENTS, Refusal, Sender

IN_FLIGHT = 3
BATCH_ROWS = 4 * BATCH_EVENTS
"""Also where most are refused before they are sent."""
JOURNAL_EVERY_SECONDS = 0.25
LOOK_EVERY_SECONDS = 0.2


class Watcher(Protocol):
    def show(self, journal: Journal, read_to: int) -> None:
        """Called often. ``read_to`` is the last line that was read; those behind ``journal.lines`` are on their way."""


class Digest:
    """Of a file as far as it was read, whatever ends its lines."""

    def __init__(self, beginning: bytes) -> None:
        self._of = hashlib.blake2b(digest_size=16)
        self.add(beginning)

    def add(self, data: bytes) -> None:
        self._of.update(data.rstrip(b"\r\n") + b"\n")

    def with_(self, data: bytes) -> Digest:
        longer = copy(self)
        longer._of = self._of.copy()
        longer.add(data)
        return longer

    def as_text(self) -> str:
        return self._of.hexdigest()


@dataclass
class Batch:
    """Some rows in a row. ``digest`` is of the file up to ``last_line``."""

    calls: list[bytes] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    bytes: int = 0
    count: int = 0
    last_line: int = 0
    digest: str = ""

    @property
    def full(self) -> bool:
        return len(self.calls) >= BATCH_EVENTS or self.bytes >= BATCH_BYTES or self.count >= BATCH_ROWS


def batches(rows: Iterable[Row], calls: Calls, digest: Digest) -> Iterator[Batch]:
    encode = msgspec.json.Encoder().encode
    batch = Batch()
    for row in rows:
        digest.add(row.data)
        batch.last_line = row.last_line
        if row.cells is None and row.problem is None:
            continue
        batch.count += 1
        try:
            if row.cells is None:
                assert row.problem is not None
                raise row.problem
            call = encode(calls.call_of(row.cells))
        except RowRefused as problem:
            batch.refused.append(Refused(row.first_line, problem.code, str(problem), row.data))
        else:
            batch.calls.append(call)
            batch.rows.append(row)
            batch.bytes += len(call)
        if batch.full:
            batch.digest = digest.as_text()
            yield batch
            batch = Batch()
    if batch.last_line:
        batch.digest = digest.as_text()
        yield batch


class Work:
    """Sends batches and keeps ``journal`` true: what it says was acknowledged, was."""

    def __init__(self, sender: Sender, journal: Journal, path: Path | None, rejects: Rejects) -> None:
        """``path`` None keeps no journal."""
        self.journal = journal
        self._sender = sender
        self._path = path
        self._rejects = rejects
        self._read_to = journal.lines
        self._unwritten = False
        self._written_at = 0.0

    async def run(self, of: Iterator[Batch], watcher: Watcher) -> None:
        """Raises Stopped. However it ends, the journal is written."""
        self._write()
        under_way: deque[tuple[Batch, asyncio.Task[list[Refusal]]]] = deque()
        try:
            for batch in of:
                self._read_to = batch.last_line
                under_way.append((batch, asyncio.create_task(self._sender.send(batch.calls))))
                await asyncio.sleep(0)  # or it would not begin before the next batch is read
                while len(under_way) >= IN_FLIGHT:
                    await self._acknowledge(*under_way[0], watcher)
                    under_way.popleft()
            while under_way:
                await self._acknowledge(*under_way[0], watcher)
                under_way.popleft()
            self.journal.completed = True
        finally:
            for _, task in under_way:
                task.cancel()
            await asyncio.gather(*(task for _, task in under_way), return_exceptions=True)
            self._write()

    async def _acknowledge(self, batch: Batch, answer: asyncio.Task[list[Refusal]], watcher: Watcher) -> None:
        while not answer.done():
            self._write_in_time()
            watcher.show(self.journal, self._read_to)
            await asyncio.wait([answer], timeout=LOOK_EVERY_SECONDS)
        refusals = answer.result()
        journal = self.journal
        refused = sorted([*batch.refused, *_by_row(batch, refusals)], key=lambda one: one.line)
        self._rejects.add(refused)
        for code, count in Counter(one.code for one in refused).items():
            journal.refused[code] = journal.refused.get(code, 0) + count
        journal.rows += batch.count
        journal.accepted += len(batch.calls) - len(refusals)
        journal.lines, journal.digest = batch.last_line, batch.digest
        journal.unended_bytes = _unended_bytes(batch, refusals)
        journal.rejects_bytes = self._rejects.bytes
        journal.last_sent_at = datetime.now(UTC)
        self._unwritten = True
        self._write_in_time()
        watcher.show(journal, self._read_to)

    def _write_in_time(self) -> None:
        if self._unwritten and monotonic() - self._written_at > JOURNAL_EVERY_SECONDS:
            self._write()

    def _write(self) -> None:
        if self._path is not None:
            journals.write(self._path, self.journal)
        self._unwritten = False
        self._written_at = monotonic()


def _by_row(batch: Batch, refusals: Sequence[Refusal]) -> list[Refused]:
    return [
        Refused(batch.rows[one.place].first_line, one.code, one.message, batch.rows[one.place].data) for one in refusals
    ]


def _unended_bytes(batch: Batch, refusals: Sequence[Refusal]) -> int:
    if not batch.rows or len(batch.rows) - 1 in {one.place for one in refusals}:
        return 0
    last = batch.rows[-1]
    return len(last.data) if last.last_line == batch.last_line and not last.data.endswith(b"\n") else 0


def rows_after(rows: Iterator[Row], calls: Calls, digest: Digest, journal: Journal) -> Iterator[Row] | None:
    """Those that follow the ones that the journal says were sent, which are gone over, so that ``calls`` knows them.
    None when they are not the rows that were sent. Raises Stopped for a damaged file."""
    if journal.lines == 0:
        return rows
    for row in rows:
        last = row.last_line >= journal.lines
        if last and _has_grown(row, digest, journal):
            return chain([_grown(row, journal)], rows)
        digest.add(row.data)
        if row.cells is not None:
            with suppress(RowRefused):
                calls.call_of(row.cells)
        if last:
            return rows if row.last_line == journal.lines and digest.as_text() == journal.digest else None
    return None


def _has_grown(row: Row, digest: Digest, journal: Journal) -> bool:
    """Whether the file ended in the middle of the row when that was sent."""
    sent, now = row.data[: journal.unended_bytes].rstrip(b"\r"), row.data.rstrip(b"\r\n")
    return journal.unended_bytes > 0 and sent != now and digest.with_(sent).as_text() == journal.digest


def _grown(row: Row, journal: Journal) -> Row:
    """What is said of an account now takes the place of what was said; an event that was counted is."""
    if journal.kind is Kind.ACCOUNTS:
        return row
    problem = RowRefused(
        "sent_unfinished",
        f"The file ended with the first {journal.unended_bytes} bytes of this row, and they were sent; the whole row "
        "would count a second time.",
    )
    return Row(row.first_line, row.last_line, row.data, problem=problem)
