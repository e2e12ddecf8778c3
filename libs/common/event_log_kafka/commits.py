"""How far a group is, told to Kafka for its own tools: offsets committed in the group's name by nobody's member."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from time import monotonic

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.protocol.commit import OffsetCommitRequest

from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import TopicPartition
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.client import KafkaClient, raise_for
from libs.common.observability import get_logger

logger = get_logger(__name__)

COMMIT_SECONDS = 1.0
"""Between two commits."""
LAST_COMMIT_SECONDS = 1.0
"""That who leaves waits for."""
NO_GENERATION, NO_MEMBER, NO_RETENTION = -1, "", -1


class Commits:
    """Best effort, beside the work: a coordinator that does not answer delays nobody. Nothing reads this back."""

    def __init__(self, group: str, client: KafkaClient, access: KafkaAccess) -> None:
        self._group = group
        self._client = client
        self._access = access
        self._positions: dict[TopicPartition, int] = {}
        self._next = 0.0
        self._committing: asyncio.Task[None] | None = None

    def note(self, source: TopicPartition, position: int) -> None:
        self._positions[source] = position

    def forget(self, source: TopicPartition) -> None:
        """It is another's to tell now."""
        self._positions.pop(source, None)

    def go_on(self) -> None:
        """Commit what was noted, if it is time."""
        busy = self._committing is not None and not self._committing.done()
        if self._positions and not busy and monotonic() >= self._next:
            positions, self._positions = self._positions, {}
            self._committing = asyncio.create_task(self._commit(positions), name=f"{self._group} commits")

    async def close(self) -> None:
        """One last try."""
        if self._committing is not None:
            await asyncio.wait([self._committing], timeout=LAST_COMMIT_SECONDS)
        self._next = 0.0
        self.go_on()
        if self._committing is not None:
            await asyncio.wait([self._committing], timeout=LAST_COMMIT_SECONDS)
            self._committing.cancel()

    async def _commit(self, positions: Mapping[TopicPartition, int]) -> None:
        try:
            await self._client.ask(lambda client: self._tell(client, positions))
        except (RetryLater, NotStarted) as exc:
            logger.info("offsets_not_committed", group=self._group, detail=str(exc))
        self._next = monotonic() + COMMIT_SECONDS

    async def _tell(self, client: AIOKafkaClient, positions: Mapping[TopicPartition, int]) -> None:
        by_topic: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for source, position in positions.items():
            by_topic[self._access.name_of(source.topic)].append((source.partition, position, ""))
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, self._group)
        answer = await client.send(
            coordinator,
            OffsetCommitRequest(self._group, NO_GENERATION, NO_MEMBER, NO_RETENTION, list(by_topic.items())),
        )
        for _, partitions in answer.topics:
            for _, error in partitions:
                raise_for(error, "does not take the group's offsets")
