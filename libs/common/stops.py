"""Partitions of a consumer that stand still until somebody acts: why, and what the way out is."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from libs.common.event_log import TopicPartition
from libs.common.observability import REGISTRY, Gauge
from libs.common.received import BREAKER_LIMIT
from libs.common.topics import Topic

_stopped = Gauge(
    "kizashi_consumer_stopped_partitions",
    "Partitions of this process that wait for a person",
    ["group", "topic", "cause"],
    registry=REGISTRY,
)


class Cause(StrEnum):
    LOST = "lost"  # the log does not hold what must be read next
    BREAKER = "breaker"  # too many records in a row were refused


@dataclass(frozen=True)
class Stop:
    """``why`` and ``way_out`` are sentences."""

    cause: Cause
    why: str
    way_out: str


def lost(group: str, source: TopicPartition, why: str) -> Stop:
    command = f"kizashi log skip {group} {source.topic} {source.partition} --to earliest"
    return Stop(Cause.LOST, why, f"`{command}` goes on with what the log still holds.")


def broken(group: str, source: TopicPartition, why: str = f"{BREAKER_LIMIT} records in a row were refused") -> Stop:
    command = f"kizashi dlq allow {source.topic} {source.partition} 100 --service {group}"
    return Stop(
        Cause.BREAKER,
        f"{source.topic}/{source.partition} is stopped: {why}.",
        f"A better release goes on by itself; if the records are really bad, `{command}` lets so many more die.",
    )


class Stops:
    """What one process knows to be stopped."""

    def __init__(self, group: str, topics: Sequence[Topic]) -> None:
        self._group = group
        self._topics = topics
        self._stops: dict[TopicPartition, Stop] = {}

    def __contains__(self, source: TopicPartition) -> bool:
        return source in self._stops

    @property
    def sources(self) -> frozenset[TopicPartition]:
        return frozenset(self._stops)

    def add(self, source: TopicPartition, stop: Stop) -> None:
        self._stops[source] = stop
        self._count()

    def remove(self, source: TopicPartition) -> None:
        if self._stops.pop(source, None):
            self._count()

    def keep(self, owned: Collection[TopicPartition]) -> None:
        """What moved on to another process is its to tell."""
        for source in self.sources.difference(owned):
            self.remove(source)

    def sentence(self) -> str | None:
        """For readiness: the first of them, and how many there are besides."""
        if not self._stops:
            return None
        _, first = min(self._stops.items())
        more = f" {len(self._stops) - 1} more: see `kizashi log status`." if len(self._stops) > 1 else ""
        return f"{first.why} {first.way_out}{more}"

    def _count(self) -> None:
        for topic in self._topics:
            for cause in Cause:
                of_it = [1 for source, stop in self._stops.items() if (source.topic, stop.cause) == (topic, cause)]
                _stopped.labels(self._group, topic, cause).set(len(of_it))
