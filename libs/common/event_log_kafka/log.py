"""The event log on Apache Kafka: the engine for more than one machine.

Positions are Kafka's offsets. Who reads which partition is shared by advisory locks of PostgreSQL, as on the other
engine (docs/adr/0010); Kafka's consumer groups only show its own tools how far we are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import APPEND_SECONDS, Record, StartAt, TopicPartition
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.append import ROADS, Appender
from libs.common.event_log_kafka.client import KafkaClient
from libs.common.event_log_kafka.commits import Commits
from libs.common.event_log_kafka.lane import Waiting
from libs.common.event_log_kafka.places import Places
from libs.common.event_log_kafka.seal import is_sealed
from libs.common.event_log_kafka.subscription import KafkaSubscription, make_consumer
from libs.common.ownership import LockSession
from libs.common.sharing import Sharing
from libs.common.topics import Topic

ROADS_OF_WHAT_CAN_WAIT = 1
"""To each broker; more are connections for little."""
DOUBT_SECONDS = 15.0
"""Before a refusal ends a process that was let in before."""


class KafkaEventLog:
    """One process's access to the log: a client that asks, one for each road of a topic to a broker, which write,
    and a consumer for each subscription.

    Retention is the topics' own (``kizashi log create``): Kafka drops what is old whether it was read or not.
    Raises NotStarted when the address or the access is no good.
    """

    def __init__(self, url: str, access: KafkaAccess, *, name: str, append_seconds: float = APPEND_SECONDS) -> None:
        self._access = access
        self._name = name
        self._arguments = access.client_arguments(url)
        self._client = KafkaClient(self._arguments, f"{name} log", DOUBT_SECONDS)
        self._places = Places(self._client, access)
        self._append_seconds = append_seconds
        self._appenders: dict[Topic, Appender] = {}
        """Of the topics that this process has written to."""
        self._waiting = Waiting()
        self._opened = False

    async def open(self) -> None:
        await self._places.identities(list(Topic))
        if await self._client.ask(partial(is_sealed, names=[self._access.name_of(topic) for topic in Topic])):
            raise NotStarted(
                "The event log on this Kafka was moved away; set KIZASHI_LOG_URL to where it is now (kizashi log move "
                "brings it back)."
            )
        self._opened = True

    async def close(self) -> None:
        await asyncio.gather(*(appender.close() for appender in self._appenders.values()))
        await self._client.close()

    async def identity(self, topic: Topic) -> str:
        """Asked anew each time. Raises NotStarted when the topic is missing or has other partitions."""
        self._check_open()
        return await self._places.identity(topic)

    async def append(self, topic: Topic, records: Sequence[Record], partition: int | None = None) -> None:
        self._check_open()
        appender = self._appenders.get(topic)
        if appender is None:
            appender = self._appenders[topic] = self._appender_of(topic)
        await appender.append(records, partition)

    def _appender_of(self, topic: Topic) -> Appender:
        can_wait = topic.is_history or topic.dead_letters is topic
        return Appender(
            self._access.name_of(topic),
            self._arguments,
            f"{self._name} log writer",
            roads=ROADS_OF_WHAT_CAN_WAIT if can_wait else ROADS,
            asking=self._client,
            waiting=self._waiting,
            append_seconds=self._append_seconds,
        )

    async def ends(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        self._check_open()
        return await self._places.ends(topics)

    async def starts(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        self._check_open()
        return await self._places.starts(topics)

    async def appended_at(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        self._check_open()
        return await self._places.appended_at(positions)

    @contextlib.asynccontextmanager
    async def subscribe(
        self, group: str, topics: Sequence[Topic], start_at: StartAt
    ) -> AsyncIterator[KafkaSubscription]:
        self._check_open()
        if not self._access.locks_url:
            raise NotStarted("Who reads from Kafka needs a PostgreSQL whose locks share the partitions.")
        locks = LockSession(self._access.locks_url, f"{self._name} log owner")
        try:
            await locks.open()
            subscription = KafkaSubscription(
                group,
                topics,
                start_at,
                Sharing(group, topics, locks),
                make_consumer(self._arguments, f"{self._name} log reader"),
                self._access,
                self._places,
                Commits(group, self._client, self._access),
            )
            try:
                await subscription.join()
                yield subscription
            finally:
                await subscription.leave()
        finally:
            await locks.close()

    def _check_open(self) -> None:
        if not self._opened:
            raise RetryLater("the event log is not open")
