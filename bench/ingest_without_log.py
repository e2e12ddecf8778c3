"""python -m bench.ingest_without_log: ingest as it is, but for an event log that takes everything and keeps nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial

from libs.common.event_log import EventLog, Record, StartAt, Subscription, TopicPartition
from libs.common.runtime import run
from libs.common.topics import Topic
from services.ingest.app import compose
from services.ingest.settings import IngestSettings


class NoLog:
    """Forgets at once, so what is left of a request's time is ingest's own."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def identity(self, topic: Topic) -> str:
        return "no log"

    async def append(self, topic: Topic, records: Sequence[Record], partition: int | None = None) -> None: ...

    async def ends(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return {}

    async def starts(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return {}

    async def appended_at(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        return {}

    def subscribe(
        self, group: str, topics: Sequence[Topic], start_at: StartAt
    ) -> AbstractAsyncContextManager[Subscription]:
        raise NotImplementedError("nothing can be read where nothing is kept")


def _no_log(_settings: IngestSettings) -> EventLog:
    return NoLog()


if __name__ == "__main__":
    run(partial(compose, _no_log))
