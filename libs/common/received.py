"""What a batch of the log holds for one consumer group: events, and records that it cannot read."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from libs.common.burial import LETTER, ONLY_GROUP, DeadLetter
from libs.common.db import sentence_of
from libs.common.errors import InvalidEvent
from libs.common.event_log import Batch, ReadRecord, TopicPartition
from libs.common.events import Event, decode

BREAKER_LIMIT = 25
"""Records refused in a row after which the partition stops: a bad release must not drain a topic."""


class BreakerOpen(Exception):
    """Too many records in a row were refused; the partition waits for a better release or an operator's allowance."""


@dataclass(frozen=True)
class Received:
    """An event. ``replay_of`` is the dead letter that brought it back."""

    event: Event
    replay_of: uuid.UUID | None


@dataclass(frozen=True)
class Opened:
    """``refused_in_a_row`` counts the unreadable records at the batch's end, with those before it if it holds no
    other."""

    received: Sequence[Received]
    letters: Sequence[DeadLetter]
    refused_in_a_row: int


def open_batch(batch: Batch, group: str, refused_in_a_row: int) -> Opened:
    """Decode what is meant for the group. Raises BreakerOpen when too many records in a row do not decode."""
    received: list[Received] = []
    letters: list[DeadLetter] = []
    for record in batch.records:
        if record.headers.get(ONLY_GROUP, group.encode()) != group.encode():
            continue
        try:
            received.append(Received(decode(record.value), _replay_of(record)))
            refused_in_a_row = 0
        except InvalidEvent as exc:
            refused_in_a_row = one_more_refused(refused_in_a_row, exc)
            letters.append(letter_about(batch.source, record, exc))
    return Opened(received, letters, refused_in_a_row)


def one_more_refused(refused_in_a_row: int, why: Exception) -> int:
    """Raises BreakerOpen when that is one too many."""
    if refused_in_a_row >= BREAKER_LIMIT:
        # Its reason and not its message, which may hold a customer's data: readiness shows this to everybody.
        raise BreakerOpen(f"{BREAKER_LIMIT} records in a row were refused; the next one: {_reason_of(why)}") from why
    return refused_in_a_row + 1


def letter_about(source: TopicPartition, record: ReadRecord, why: Exception) -> DeadLetter:
    return DeadLetter(source, record, _workspace_of(record), _claim_of(record), _reason_of(why), sentence_of(why))


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """A batch of at least two records as two: the border is the fetch position of the second half's first record."""
    middle = len(batch.records) // 2
    border = batch.records[middle].offset
    return (
        Batch(batch.source, batch.start, border, batch.records[:middle]),
        Batch(batch.source, border, batch.end, batch.records[middle:]),
    )


def _reason_of(why: Exception) -> str:
    return why.reason if isinstance(why, InvalidEvent) else type(why).__name__


def _replay_of(record: ReadRecord) -> uuid.UUID | None:
    try:
        return uuid.UUID(record.headers[LETTER].decode())
    except (KeyError, ValueError):
        return None


def _workspace_of(record: ReadRecord) -> int | None:
    """Every key begins with the number of its workspace; a record whose key does not belongs to none."""
    number, separator, _ = record.key.partition(b":")
    return int(number) if separator and number.isdigit() and len(number) < 18 else None


def _claim_of(record: ReadRecord) -> bytes | None:
    try:
        return decode(record.value).claim()
    except InvalidEvent:
        return None
