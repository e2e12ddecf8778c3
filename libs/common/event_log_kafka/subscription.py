"""A member of a consumer group on the Kafka engine: reads the partitions that are its own by aiokafka's consumer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as KafkaPartition

from libs.common.errors import PositionLost, RetryLater
from libs.common.event_log import ALL_OF_EACH, Batch, StartAt, TopicPartition
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.client import DEADLINE_SECONDS, REQUEST_SECONDS, hang_up
from libs.common.event_log_kafka.commits import Commits
from libs.common.event_log_kafka.fetch import as_read
from libs.common.event_log_kafka.places import Places
from libs.common.observability import get_logger
from libs.common.sharing import Sharing
from libs.common.topics import PARTITIONS, Topic
from libs.common.turns import Turns

logger = get_logger(__name__)

BATCH_BYTES = 4_000_000
SLICE_RECORDS = 50
"""Taken from the client at once while a batch is filled, so that it is not filled far beyond its bytes."""
FETCH_BYTES = 1_100_000
"""Of one partition, as it is stored. More than the largest record, which must fit."""
FETCH_WAIT_MILLISECONDS = 200
"""That a broker may wait for news. As long waits a partition whose position changed while the broker was waiting."""
SILENCE_SECONDS = 5.0
"""aiokafka finds nothing for ever when the broker is dead or frozen. A partition of which no answer came for this
long is taken for that."""
LOOK_SECONDS = 1.0
"""Between two looks at whether the topics are still those whose positions we read from."""
WAIT_SECONDS = 0.1
"""For news, between two looks at what else is due."""


@dataclass(slots=True)
class _Owned:
    """A partition of ours. ``heard`` is aiokafka's note of the last answer about it, which came by ``heard_at``;
    ``paused_until`` 0 is not paused."""

    source: TopicPartition
    on_kafka: KafkaPartition
    position: int
    heard_at: float = 0.0
    heard: int | None = None
    paused_until: float = 0.0
    served: int = 0


def _most(owned: _Owned, max_records: int, most_of: Mapping[Topic, int]) -> int:
    return min(max_records, most_of.get(owned.source.topic, max_records))


def make_consumer(arguments: Mapping[str, Any], name: str) -> AIOKafkaConsumer:
    """Without a group: nobody takes a partition from us but by the locks, and no position is chosen for us."""
    return AIOKafkaConsumer(
        **arguments,
        client_id=name,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        fetch_max_wait_ms=FETCH_WAIT_MILLISECONDS,
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=4 * FETCH_BYTES,
        request_timeout_ms=int(REQUEST_SECONDS * 1000),
    )


class KafkaSubscription:
    """Everything happens inside ``next_batch``, so a partition changes hands only between batches.

    The consumer has all partitions assigned from the beginning, and those that are not ours are paused: every
    assignment would throw away what was fetched of the others.
    """

    def __init__(
        self,
        group: str,
        topics: Sequence[Topic],
        start_at: StartAt,
        sharing: Sharing,
        consumer: AIOKafkaConsumer,
        access: KafkaAccess,
        places: Places,
        commits: Commits,
    ) -> None:
        self._group = group
        self._topics = sorted(set(topics))
        self._start_at = start_at
        self._sharing = sharing
        self._consumer = consumer
        self._places = places
        self._commits = commits
        self._on_kafka = {
            TopicPartition(topic, partition): KafkaPartition(access.name_of(topic), partition)
            for topic in self._topics
            for partition in range(PARTITIONS)
        }
        self._owned: dict[TopicPartition, _Owned] = {}
        self._identities: Mapping[Topic, str] = {}
        self._looking: asyncio.Task[Mapping[Topic, str]] | None = None
        self._next_look = 0.0
        self._batches = 0
        self._turns = Turns(self._topics)

    async def join(self) -> None:
        """Raises RetryLater when Kafka does not answer, NotStarted when the topics are not what this release needs."""
        self._identities = await self._places.identities(self._topics)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await self._consumer.start()
        except (OSError, KafkaError) as exc:
            raise RetryLater(f"the event log's Kafka does not answer: {str(exc) or 'deadline passed'}") from exc
        self._consumer.assign(list(self._on_kafka.values()))
        for partition in self._on_kafka.values():
            self._put_aside(partition)

    async def leave(self) -> None:
        """Say how far we came, as long as the partitions are ours to speak for."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._sharing.alive:
            await self._commits.close()
        await hang_up(self._consumer._client, self._consumer.stop)

    @property
    def owned(self) -> frozenset[TopicPartition]:
        return frozenset(self._owned)

    async def next_batch(
        self, max_records: int, timeout_seconds: float, most_of: Mapping[Topic, int] = ALL_OF_EACH
    ) -> Batch | None:
        deadline = monotonic() + timeout_seconds
        await asyncio.sleep(0)  # as long as there is something to take nothing below waits, and the fetching must go on
        while True:
            await self._keep_up()
            ready = self._in_turn(most_of)
            for owned in ready:
                if (batch := await self._take(owned, _most(owned, max_records, most_of))) is not None:
                    return batch
            if (seconds := deadline - monotonic()) <= 0:
                return None
            if (batch := await self._wait(ready, min(seconds, WAIT_SECONDS), max_records, most_of)) is not None:
                return batch

    def rewind(self, source: TopicPartition, position: int, pause_seconds: float) -> None:
        if (owned := self._owned.get(source)) is not None:
            owned.position = position
            self._pause(owned, monotonic() + pause_seconds)

    async def drop(self, source: TopicPartition) -> None:
        self._let_go(source)
        await self._sharing.drop(source)

    async def commit(self, source: TopicPartition, position: int) -> None:
        self._commits.note(source, position)

    # --- what is ours ---

    async def _keep_up(self) -> None:
        """What is due besides reading."""
        if not self._sharing.alive:
            raise RetryLater(f"{self._group} lost the session that holds its partitions")
        self._look_at_topics()
        if self._sharing.due:
            await self._share()
        self._commits.go_on()
        now = monotonic()
        for owned in self._owned.values():
            if 0 < owned.paused_until <= now:
                self._resume(owned)

    def _look_at_topics(self) -> None:
        """Ask now and then, beside the reading: one broker of several may be slow to answer, and delays nobody so."""
        if self._looking is not None and self._looking.done():
            looked, self._looking = self._looking, None
            try:
                identities = looked.result()
            except RetryLater as exc:
                logger.info("topics_not_looked_at", group=self._group, detail=str(exc))
            else:
                self._check(identities)
        if self._looking is None and monotonic() >= self._next_look:
            self._next_look = monotonic() + LOOK_SECONDS
            self._looking = asyncio.create_task(self._places.identities(self._topics), name="look at topics")

    def _check(self, identities: Mapping[Topic, str]) -> None:
        """Raises RetryLater when a topic was made again: who joins then is told that the positions are of another."""
        for topic, identity in identities.items():
            if identity != self._identities[topic]:
                raise RetryLater(f"the topic of {topic} was {self._identities[topic]} and is {identity} now")

    async def _share(self) -> None:
        """Give up what is above our share and take what is free below it."""
        plan = await self._sharing.look(self._owned)
        for source in plan.surplus:
            self._let_go(source)
        await self._sharing.release(plan.surplus)
        for source in await self._sharing.take(plan.wanted):
            position = await self._start_at(source)
            owned = self._owned[source] = _Owned(source, self._on_kafka[source], position)
            self._resume(owned)
            self._commits.note(source, position)

    def _let_go(self, source: TopicPartition) -> None:
        self._owned.pop(source, None)
        self._commits.forget(source)
        self._put_aside(self._on_kafka[source])

    def _put_aside(self, partition: KafkaPartition) -> None:
        """Read it no more, and keep nothing of what was fetched. It is not read from that position ever."""
        self._consumer.pause(partition)
        self._consumer.seek(partition, 0)

    def _pause(self, owned: _Owned, until: float) -> None:
        owned.paused_until = until
        self._put_aside(owned.on_kafka)

    def _resume(self, owned: _Owned) -> None:
        owned.paused_until = 0.0
        owned.heard_at = monotonic()
        self._consumer.seek(owned.on_kafka, owned.position)
        self._consumer.resume(owned.on_kafka)

    # --- reading ---

    def _in_turn(self, most_of: Mapping[Topic, int]) -> Sequence[_Owned]:
        """The partition that has waited longest first, of the topic whose turn it is."""
        ready = [
            owned for owned in self._owned.values() if not owned.paused_until and most_of.get(owned.source.topic, 1)
        ]
        return sorted(ready, key=lambda owned: (self._turns.of(owned.source.topic), owned.served))

    async def _wait(
        self, in_turn: Sequence[_Owned], seconds: float, max_records: int, most_of: Mapping[Topic, int]
    ) -> Batch | None:
        """Until something comes for one of these."""
        ready = {owned.on_kafka: owned for owned in in_turn}
        if not ready:
            await asyncio.sleep(seconds)
            return None
        try:
            arrived = await self._consumer.getmany(*ready, timeout_ms=seconds * 1000, max_records=1)
        except OffsetOutOfRangeError as exc:
            await self._lose(ready[next(iter(exc.args[0]))])
        except KafkaError as exc:
            raise RetryLater(f"the event log's Kafka cannot be read: {exc!r}") from exc
        else:
            for partition, records in arrived.items():  # one, because one record was asked for
                owned = ready[partition]
                return await self._take(owned, _most(owned, max_records, most_of), records)
        return None

    async def _take(self, owned: _Owned, max_records: int, first: Sequence[ConsumerRecord] = ()) -> Batch | None:
        """What was fetched of a partition, holes included, beginning with what was taken from the client already;
        None if nothing was. Raises PositionLost."""
        records = [as_read(one) for one in first]
        size = sum(one.size for one in records)
        cut = False
        while len(records) < max_records and not cut:
            most = min(SLICE_RECORDS, max_records - len(records))
            try:
                found = await self._consumer.getmany(owned.on_kafka, max_records=most)
            except OffsetOutOfRangeError:
                await self._lose(owned)
                return None
            except KafkaError as exc:
                raise RetryLater(f"the event log's Kafka cannot be read: {exc!r}") from exc
            if not found:
                break
            for one in found[owned.on_kafka]:
                if cut := size >= BATCH_BYTES:
                    break
                records.append(as_read(one))
                size += records[-1].size
        if cut:
            self._consumer.seek(owned.on_kafka, records[-1].offset + 1)  # the rest is fetched again
        start, end = owned.position, await self._consumer.position(owned.on_kafka)
        if start == end:
            self._listen(owned)
            return None
        owned.position = end
        self._batches += 1
        owned.served = self._batches
        self._turns.served(owned.source.topic, end - start)
        return Batch(owned.source, start, end, records)

    def _listen(self, owned: _Owned) -> None:
        """Of a partition in which nothing is new. Raises RetryLater when Kafka has not said so for too long."""
        heard, now = self._consumer.last_poll_timestamp(owned.on_kafka), monotonic()
        if heard != owned.heard:  # not compared with a clock, which may be set
            owned.heard, owned.heard_at = heard, now
        elif now - owned.heard_at > SILENCE_SECONDS:
            raise RetryLater(
                f"Kafka has said nothing about {owned.on_kafka.topic}/{owned.on_kafka.partition} for "
                f"{now - owned.heard_at:.0f} s"
            )

    async def _lose(self, owned: _Owned) -> None:
        """Kafka says that it has not what we want to read. Raises PositionLost if that is so, and holds the partition
        from then on, until it is rewound."""
        self._pause(owned, math.inf)
        self._check(await self._places.identities(self._topics))
        earliest = (await self._places.starts([owned.source.topic]))[owned.source]
        end = (await self._places.ends([owned.source.topic]))[owned.source]
        if not earliest <= owned.position <= end:
            raise PositionLost(owned.source, owned.position, earliest, end)
        self._pause(owned, monotonic() + WAIT_SECONDS)  # the broker that led it yesterday, most likely
