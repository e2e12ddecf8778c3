"""Batches that are tried again: how often, for how long, and when next."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from time import monotonic

from libs.common.event_log import TopicPartition

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0


@dataclass(frozen=True)
class _Trying:
    since: float
    times: int


class Retries:
    """Of one process's partitions. One that has not succeeded for ``unready_seconds`` makes the process unready."""

    def __init__(self, unready_seconds: float) -> None:
        self._unready_seconds = unready_seconds
        self._trying: dict[TopicPartition, _Trying] = {}

    def again(self, source: TopicPartition) -> float:
        """The batch could not be processed. The answer is for how many seconds to wait."""
        before = self._trying.setdefault(source, _Trying(monotonic(), 0))
        self._trying[source] = replace(before, times=before.times + 1)
        return min(FIRST_PAUSE_SECONDS * 2.0 ** min(before.times, 10), LONGEST_PAUSE_SECONDS)

    def succeeded(self, source: TopicPartition) -> None:
        self._trying.pop(source, None)

    def keep(self, owned: Collection[TopicPartition]) -> None:
        """What moved on to another process is its to tell."""
        self._trying = {source: trying for source, trying in self._trying.items() if source in owned}

    def sentence(self) -> str | None:
        """For readiness."""
        for (topic, partition), trying in self._trying.items():
            if (seconds := monotonic() - trying.since) > self._unready_seconds:
                return f"{topic}/{partition} has been trying the same batch for {seconds:.0f} s"
        return None
