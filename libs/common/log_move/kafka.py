"""A log on Kafka as a move sees it.

Its seal reaches the brokers some time after it was set (see event_log_kafka/seal); so the log counts as sealed once
every partition has refused a batch of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, MessageSizeTooLargeError
from aiokafka.structs import TopicPartition as KafkaPartition

from libs.common.burial import ONLY_GROUP
from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import ReadRecord, TopicPartition
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.client import REQUEST_SECONDS, KafkaClient, hang_up
from libs.common.event_log_kafka.fetch import as_read, fetch
from libs.common.event_log_kafka.identity import describe_ours
from libs.common.event_log_kafka.places import Places
from libs.common.event_log_kafka.seal import SEALED, is_sealed, set_limit
from libs.common.event_log_kafka.topic_settings import MAX_MESSAGE_BYTES
from libs.common.log_move.logs import BATCH_BYTES, NAME, RUN_AGAIN
from libs.common.topics import PARTITIONS, Topic

SEAL_SECONDS = 30.0
ASK_AGAIN_SECONDS = 0.2


class KafkaLog:
    def __init__(self, url: str, access: KafkaAccess) -> None:
        self._url = url
        self._access = access
        self._arguments = access.client_arguments(url)
        self._client = KafkaClient(self._arguments, NAME)
        self._places = Places(self._client, access)
        self._topics = [access.name_of(topic) for topic in Topic]
        self._identities: Mapping[Topic, str] = {}

    @property
    def place(self) -> str:
        return self._url

    async def open(self) -> None:
        self._identities = await self._places.identities(list(Topic))

    async def close(self) -> None:
        await self._client.close()

    async def identity(self, topic: Topic) -> str:
        return self._identities[topic]

    async def starts(self) -> Mapping[TopicPartition, int]:
        return await self._places.starts(list(Topic))

    async def ends(self) -> Mapping[TopicPartition, int]:
        return await self._places.ends(list(Topic))

    async def read(self, source: TopicPartition, start: int, end: int) -> Sequence[ReadRecord]:
        while start < end:
            found, beyond = await self._client.ask(partial(self._fetch, source=source, start=start))
            if records := [one for one in found if one.offset < end]:
                return records
            if beyond == start:
                raise RetryLater(f"Kafka gives nothing of {source.topic}/{source.partition} from {start} on yet")
            start = beyond  # a hole
        return []

    async def running(self) -> Sequence[str]:
        """Kafka does not tell who is connected; readers show in the database that shares their partitions."""
        return []

    # --- the seal ---

    async def moved_to(self) -> str | None:
        return "another log" if await self._client.ask(partial(is_sealed, names=self._topics)) else None

    async def seal(self, place: str) -> None:
        await self._client.ask(partial(set_limit, names=self._topics, limit=SEALED))
        producer = AIOKafkaProducer(
            **self._arguments,
            client_id=NAME,
            acks="all",
            enable_idempotence=False,
            request_timeout_ms=int(REQUEST_SECONDS * 1000),
        )
        try:
            async with asyncio.timeout(SEAL_SECONDS):
                await producer.start()
                for topic in Topic:
                    await asyncio.gather(
                        *(self._until_refused(producer, topic, partition) for partition in range(PARTITIONS))
                    )
        except (OSError, KafkaError) as exc:
            raise NotStarted(f"Kafka at {self._url} could not be sealed: {exc or 'no answer'}. {RUN_AGAIN}") from exc
        finally:
            await hang_up(producer.client, producer.stop)

    async def unseal(self) -> None:
        await self._client.ask(partial(set_limit, names=self._topics, limit=MAX_MESSAGE_BYTES))

    async def _until_refused(self, producer: AIOKafkaProducer, topic: Topic, partition: int) -> None:
        """Should one be taken after all, it is meant for nobody: no service reads what is another group's alone."""
        while True:
            try:
                await producer.send_and_wait(
                    self._access.name_of(topic), b"", b"", partition=partition, headers=[(ONLY_GROUP, NAME.encode())]
                )
            except MessageSizeTooLargeError:
                return
            await asyncio.sleep(ASK_AGAIN_SECONDS)

    # --- records ---

    async def _fetch(
        self, client: AIOKafkaClient, source: TopicPartition, start: int
    ) -> tuple[Sequence[ReadRecord], int]:
        """The next records of a partition, and the position after them and the holes among them."""
        name = self._access.name_of(source.topic)
        cluster = await describe_ours(client, [name])
        leader = cluster.topics[name].leaders.get(source.partition)
        if leader is None:
            raise RetryLater(f"Kafka has nobody who leads {name}/{source.partition}")
        place = KafkaPartition(name, source.partition)
        cannot = f"cannot be read in {name}/{source.partition} from {start} on"
        records = await fetch(client, leader, place, start, BATCH_BYTES, cannot)
        return [as_read(one) for one in records], records.next_fetch_offset
