"""How far time has come for a reader of the log: the moment up to which it has processed everything accepted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from libs.common.event_log import TopicPartition

MARKS_KEPT = 128


class Marks:
    """Remembers where the log ended at which moment, and tells which moment a position has passed.

    Under constant traffic the end moves on before anybody reaches it, so earlier ends are remembered too; the further
    behind we are, the fewer of them.
    """

    def __init__(self) -> None:
        self._marks: list[tuple[datetime, Mapping[TopicPartition, int]]] = []

    def add(self, moment: datetime, ends: Mapping[TopicPartition, int]) -> None:
        """Everything accepted up to ``moment`` (domain time) lies before ``ends``: read the clock, then the log."""
        if self._marks and moment < self._marks[-1][0]:
            return
        self._marks.append((moment, ends))
        if len(self._marks) > MARKS_KEPT:
            self._marks = [*self._marks[:-1:2], self._marks[-1]]

    def passed(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        """The latest moment that each position has passed; what all of them have passed is forgotten."""
        found: dict[TopicPartition, datetime] = {}
        for moment, ends in self._marks:
            for source, position in positions.items():
                if source in ends and ends[source] <= position:
                    found[source] = moment
        if found and len(found) == len(positions):
            oldest = min(found.values())
            self._marks = [mark for mark in self._marks if mark[0] >= oldest]
        return found
