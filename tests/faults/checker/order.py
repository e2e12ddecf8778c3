"""What has one key is in one partition. By their first appearance there, a user's events stand in the order in which
they were sent, and versions rise."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tests.faults.checker.finding import Finding, Kind
from tests.faults.checker.recorded_log import TELEMETRY, RecordedLog, grouped
from tests.faults.history import History, LogRecord, Sent


def order(history: History, log: RecordedLog) -> Iterator[Finding]:
    yield from _one_partition_each(log)
    yield from _users(history, log)
    yield from _versions(log)


def _one_partition_each(log: RecordedLog) -> Iterator[Finding]:
    partitions = grouped(((topic, key), one.partition) for (topic, key, _), them in log.by_key.items() for one in them)
    for (topic, key), found in sorted(partitions.items()):
        if len(set(found)) > 1:
            words = f"key {key} of {topic} is in partitions {', '.join(map(str, sorted(set(found))))}"
            yield Finding(Kind.REORDERED, key, words)


def _users(history: History, log: RecordedLog) -> Iterator[Finding]:
    for user, events in sorted(grouped((one.user_id, one) for one in history.sent).items()):
        on_log = [
            ((record.topic, record.partition), (record.offset, event))
            for event in events
            for record in log.by_event.get((TELEMETRY, event.message_id), [])[:1]
        ]
        wrong = [
            f"{later.sequence} before {earlier.sequence}"
            for _, placed in sorted(grouped(on_log).items())
            for later, earlier in _out_of_order(placed)
        ]
        if wrong:
            yield Finding(Kind.REORDERED, user, f"events of {user} are on the log in another order: {', '.join(wrong)}")


def _out_of_order(placed: list[tuple[int, Sent]]) -> Iterator[tuple[Sent, Sent]]:
    """Each event that stands before one that had to stand before it: which was acknowledged when it was first sent, or
    came before it in the same request. ``placed`` are offsets and events of one user in one partition."""
    placed = sorted(placed, key=lambda one: (one[1].first_sent_at, one[1].sequence))
    answered = [(event.acknowledged_at, offset, event) for offset, event in placed if event.acknowledged_at is not None]
    answered.sort(key=lambda one: one[0], reverse=True)
    settled: tuple[int, Sent] | None = None
    request: tuple[int, Sent] | None = None
    for offset, event in placed:
        while answered and answered[-1][0] <= event.first_sent_at:
            _, at, earlier = answered.pop()
            settled = _further(settled, (at, earlier))
        if request is not None and request[1].first_sent_at != event.first_sent_at:
            request = None
        had_to_stand_before = _further(settled, request) if request else settled
        if had_to_stand_before is not None and offset < had_to_stand_before[0]:
            yield event, had_to_stand_before[1]
        request = _further(request, (offset, event))


def _further(one: tuple[int, Sent] | None, other: tuple[int, Sent]) -> tuple[int, Sent]:
    return other if one is None or other[0] > one[0] else one


def _versions(log: RecordedLog) -> Iterator[Finding]:
    for (topic, key, _), records in sorted(log.by_key.items()):
        first: dict[int, LogRecord] = {}
        for record in records:
            if record.sequence is not None:
                first.setdefault(record.sequence, record)
        wrong = [f"{a} before {b}" for a, b in pairwise(first) if a > b]
        if wrong:
            yield Finding(Kind.REORDERED, key, f"versions of {key} are on {topic} in another order: {', '.join(wrong)}")
