"""Where the partitions of our topics begin and end, and when what waits in them was appended."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime

from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition as KafkaPartition

from libs.common.event_log import TopicPartition
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.client import KafkaClient, NotYet, raise_for
from libs.common.event_log_kafka.fetch import fetch
from libs.common.event_log_kafka.identity import Cluster, describe_ours
from libs.common.topics import PARTITIONS, Topic

LATEST, EARLIEST = -1, -2
"""What Kafka calls the two ends, where others give a timestamp."""
CONSUMER = -1
"""The replica number of who is no replica."""


class Places:
    """Asks anew each time: leaders move, and a topic may have been made again."""

    def __init__(self, client: KafkaClient, access: KafkaAccess) -> None:
        self._client = client
        self._access = access

    async def identity(self, topic: Topic) -> str:
        """Raises NotStarted when the topic is missing or has other partitions."""
        name = self._access.name_of(topic)
        cluster = await self._client.ask(lambda client: describe_ours(client, [name]))
        return cluster.identity_of(name)

    async def identities(self, topics: Collection[Topic]) -> Mapping[Topic, str]:
        names = {topic: self._access.name_of(topic) for topic in topics}
        cluster = await self._client.ask(lambda client: describe_ours(client, list(names.values())))
        return {topic: cluster.identity_of(name) for topic, name in names.items()}

    async def ends(self, topics: Collection[Topic]) -> Mapping[TopicPartition, int]:
        """After everything durable, also what a transaction that is still open hides from readers for now.

        A reader's position gets there, over the markers of transactions, once those have ended.
        """
        return await self._client.ask(lambda client: self._borders(client, topics, LATEST))

    async def starts(self, topics: Collection[Topic]) -> Mapping[TopicPartition, int]:
        return await self._client.ask(lambda client: self._borders(client, topics, EARLIEST))

    async def appended_at(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        """By the broker's clock, as long as the topics are set up as ``kizashi log create`` does it."""
        return await self._client.ask(lambda client: self._moments(client, positions))

    async def _borders(
        self, client: AIOKafkaClient, topics: Collection[Topic], which: int
    ) -> Mapping[TopicPartition, int]:
        cluster = await self._describe(client, topics)
        asked = [TopicPartition(topic, partition) for topic in topics for partition in range(PARTITIONS)]
        questions = [
            client.send(
                leader,
                OffsetRequest(
                    CONSUMER,
                    READ_UNCOMMITTED,
                    [
                        (self._access.name_of(topic), [(one.partition, which) for one in sources if one.topic == topic])
                        for topic in topics
                    ],
                ),
            )
            for leader, sources in self._by_leader(cluster, asked).items()
        ]
        found: dict[tuple[str, int], int] = {}
        for answer in await asyncio.gather(*questions):
            for name, partitions in answer.topics:
                for partition, error, _, offset in partitions:
                    raise_for(error, f"cannot tell where {name}/{partition} begins and ends")
                    found[name, partition] = offset
        return {source: found[self._access.name_of(source.topic), source.partition] for source in asked}

    async def _moments(
        self, client: AIOKafkaClient, positions: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, datetime]:
        topics = sorted({source.topic for source in positions})
        starts = await self._borders(client, topics, EARLIEST)
        ends = await self._borders(client, topics, LATEST)
        waiting = {
            source: max(position, starts[source]) for source, position in positions.items() if position < ends[source]
        }
        cluster = await self._describe(client, topics)
        leaders = {one: leader for leader, sources in self._by_leader(cluster, waiting).items() for one in sources}
        moments = await asyncio.gather(
            *(self._moment(client, leaders[source], source, position) for source, position in waiting.items())
        )
        return {source: moment for source, moment in zip(waiting, moments, strict=True) if moment is not None}

    async def _moment(
        self, client: AIOKafkaClient, leader: int, source: TopicPartition, position: int
    ) -> datetime | None:
        """Of the first record at or after the position that is not of an aborted transaction; None: there is none."""
        name = self._access.name_of(source.topic)
        while True:
            cannot = f"cannot tell when {name}/{source.partition} got its records"
            found = await fetch(client, leader, KafkaPartition(name, source.partition), position, 1, cannot)
            for record in found:
                return datetime.fromtimestamp(record.timestamp / 1000, UTC)
            if found.next_fetch_offset == position:
                return None
            position = found.next_fetch_offset

    async def _describe(self, client: AIOKafkaClient, topics: Collection[Topic]) -> Cluster:
        return await describe_ours(client, [self._access.name_of(topic) for topic in topics])

    def _by_leader(self, cluster: Cluster, sources: Iterable[TopicPartition]) -> Mapping[int, list[TopicPartition]]:
        found: dict[int, list[TopicPartition]] = defaultdict(list)
        for source in sources:
            name = self._access.name_of(source.topic)
            leader = cluster.topics[name].leaders.get(source.partition)
            if leader is None:
                raise NotYet(f"has nobody who leads {name}/{source.partition}")
            found[leader].append(source)
        return found
