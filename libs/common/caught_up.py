"""How far time has come for a reader of the log: the moment up to which it has processed everything accepted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, TypeVar

from libs.common.event_log import TopicPartition
from libs.common.topics import Topic

MARKS_KEPT = 128
"""Of each topic."""

V = TypeVar("V")


class Marks:
    """Remembers where the log ended at which moment, and tells which moment a position has passed.

    Each topic has marks of its own: time must not come in larger steps in one because another is behind.
    """

    def __init__(self) -> None:
        self._of_topic: dict[Topic, _Marks] = defaultdict(_Marks)

    def __len__(self) -> int:
        return sum(len(marks) for marks in self._of_topic.values())

    def add(self, moment: datetime, ends: Mapping[TopicPartition, int]) -> None:
        """Everything accepted up to ``moment`` (domain time) lies before ``ends``: read the clock, then the log."""
        for topic, its_ends in _by_topic(ends).items():
            self._of_topic[topic].add(moment, its_ends)

    def passed(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        """The latest moment that each position has passed; what all of a topic have passed is forgotten."""
        found: dict[TopicPartition, datetime] = {}
        for topic, its_positions in _by_topic(positions).items():
            found |= self._of_topic[topic].passed(its_positions)
        return found


def _by_topic(values: Mapping[TopicPartition, V]) -> Mapping[Topic, Mapping[TopicPartition, V]]:
    found: dict[Topic, dict[TopicPartition, V]] = defaultdict(dict)
    for source, value in values.items():
        found[source.topic][source] = value
    return found


class _Mark(NamedTuple):
    turn: int
    moment: datetime
    ends: Mapping[TopicPartition, int]


class _Marks:
    """Of one topic. Under constant traffic the end moves on before anybody reaches it, so earlier ends are remembered
    too: the newest, and older ones at even distances, which grow with how far behind we are."""

    def __init__(self) -> None:
        self._marks: list[_Mark] = []
        self._turn = 0
        self._distance = 1

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, moment: datetime, ends: Mapping[TopicPartition, int]) -> None:
        if self._marks and moment < self._marks[-1].moment:
            return
        self._turn += 1
        if len(self._marks) > 1 and self._marks[-1].turn - self._marks[-2].turn < self._distance:
            self._marks.pop()
        self._marks.append(_Mark(self._turn, moment, ends))
        if len(self._marks) > MARKS_KEPT:
            self._marks = [*self._marks[:-1:2], self._marks[-1]]
            self._distance *= 2

    def passed(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        found: dict[TopicPartition, datetime] = {}
        for mark in self._marks:
            for source, position in positions.items():
                if source in mark.ends and mark.ends[source] <= position:
                    found[source] = mark.moment
        if found and len(found) == len(positions):
            oldest = min(found.values())
            self._marks = [mark for mark in self._marks if mark.moment >= oldest]
        if len(self._marks) < MARKS_KEPT // 4:
            self._distance = max(1, self._distance // 2)
        return found
