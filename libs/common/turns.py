"""Whose turn it is when several topics have records: each gets as many records as the others, not as many batches."""

from __future__ import annotations

from collections.abc import Iterable

from libs.common.topics import Topic


class Turns:
    """A topic with few records never waits for more than one batch of another, however full that one is: a live topic
    of twelve partitions would else wait for twelve batches of a backfill before each is read once. A topic that had
    nothing for a while has saved nothing up: it begins where the others are.
    """

    def __init__(self, topics: Iterable[Topic]) -> None:
        self._served_last = 0
        self._next = dict.fromkeys(topics, 0)

    def of(self, topic: Topic) -> int:
        """The smaller, the sooner."""
        return max(self._next[topic], self._served_last)

    def served(self, topic: Topic, records: int) -> None:
        self._served_last = self.of(topic)
        self._next[topic] = self._served_last + records
