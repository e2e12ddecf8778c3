"""The event log of a history, by what its records are about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from tests.faults.history import History, LogRecord

TELEMETRY = "telemetry.received.v1"
KEYLESS = {"telemetry.source_went_live.v1"}
"""Appended to every partition on purpose, whatever their key."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def grouped(items: Iterable[tuple[K, T]]) -> dict[K, list[T]]:
    """The second of each pair under the first, in their order."""
    groups: dict[K, list[T]] = defaultdict(list)
    for key, item in items:
        groups[key].append(item)
    return dict(groups)


@dataclass(frozen=True)
class RecordedLog:
    """The workspace's records on the event log by what they are about, each list in the order of offsets."""

    is_read: bool
    by_event: Mapping[tuple[str, str], list[LogRecord]]
    """By type and event id."""
    by_key: Mapping[tuple[str, str, str], list[LogRecord]]
    """By topic, key and type."""
    about_touch: Mapping[tuple[str, str], list[LogRecord]]
    """By type and touch."""

    @classmethod
    def of(cls, history: History) -> RecordedLog:
        records = sorted(history.log or (), key=lambda one: (one.topic, one.partition, one.offset))
        records = [
            one
            for one in records
            if one.key.startswith(f"{history.workspace}:")
            and not one.topic.endswith("-dlq")
            and one.type not in KEYLESS
        ]
        return cls(
            is_read=history.log is not None,
            by_event=grouped(((one.type, one.event_id), one) for one in records),
            by_key=grouped(((one.topic, one.key, one.type), one) for one in records),
            about_touch=grouped(((one.type, one.touch_id), one) for one in records if one.touch_id is not None),
        )


def place(record: LogRecord) -> str:
    return f"{record.topic}/{record.partition} at {record.offset}"
