"""How far time has come for a reader of the log: the moment up to which it has processed everything accepted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from libs.common.event_log import TopicPartition

MARKS_KEPT = 128


class _Mark(NamedTuple):
    turn: int
    moment: datetime
    ends: Mapping[TopicPartition, int]


class Marks:
    """Remembers where the log ended at which moment, and tells which moment a position has passed.

    Under constant traffic the end moves on before anybody reaches it, so earlier ends are remembered too: the newest,
    and older ones at even distances, which grow with how far behind we are.
    """

    def __init__(self) -> None:
        self._marks: list[_Mark] = []
        self._turn = 0
        self._distance = 1

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, moment: datetime, ends: Mapping[TopicPartition, int]) -> None:
        """Everything accepted up to ``moment`` (domain time) lies before ``ends``: read the clock, then the log."""
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
        """The latest moment that each position has passed; what all of them have passed is forgotten."""
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
