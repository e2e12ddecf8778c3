"""A log on Kafka as a move sees it. It is sealed by a limit for messages that nothing passes.

Kafka has no read-only topics. But a topic whose ``max.message.bytes`` is 0 refuses every batch, whoever sends it, and
to its senders that is an error to be tried again. The limit reaches the brokers some time after it was set; so the log
counts as sealed once every partition has refused a batch of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, for_code
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition as KafkaPartition

from libs.common.burial import ONLY_GROUP
from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import ReadRecord, TopicPartition
from libs.common.event_log_kafka_access import KafkaAccess
from libs.common.event_log_kafka_client import REQUEST_SECONDS, KafkaClient, hang_up, raise_for
from libs.common.event_log_kafka_identity import describe_ours
from libs.common.event_log_kafka_places import Places
from libs.common.event_log_kafka_topics import MAX_MESSAGE_BYTES
from libs.common.log_move_logs import BATCH_BYTES, NAME, RUN_AGAIN
from libs.common.topics import PARTITIONS, Topic

TOPIC, SET = 2, 0
"""What Kafka calls the kind of resource, and the operation."""
LIMIT = "max.message.bytes"
SEAL_SECONDS = 30.0
ASK_AGAIN_SECONDS = 0.2


class _IncrementalAlterConfigsResponse_v0(Response):  # type: ignore[misc] # aiokafka is not typed
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _IncrementalAlterConfigsRequest_v0(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _IncrementalAlterConfigsResponse_v0
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(("name", String("utf-8")), ("config_operation", Int8), ("value", String("utf-8"))),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class _SetLimit(Request[_IncrementalAlterConfigsRequest_v0]):  # type: ignore[misc]
    """Of all topics; unlike aiokafka's AlterConfigs it leaves their other settings alone."""

    API_KEY = 44

    def __init__(self, names: Sequence[str], limit: int) -> None:
        self._resources = [(TOPIC, name, [(LIMIT, SET, str(limit))]) for name in names]

    def build(
        self, request_struct_class: type[_IncrementalAlterConfigsRequest_v0]
    ) -> _IncrementalAlterConfigsRequest_v0:
        return request_struct_class(self._resources, False)


class KafkaLog:
    def __init__(self, url: str, access: KafkaAccess) -> None:
        self._url = url
        self._access = access
        self._arguments = access.client_arguments(url)
        self._client = KafkaClient(self._arguments, NAME)
        self._places = Places(self._client, access)
        self._names = {topic: access.name_of(topic) for topic in Topic}
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
        limits = await self._client.ask(self._limits)
        return "another log" if 0 in limits.values() else None

    async def seal(self, place: str) -> None:
        await self._client.ask(lambda client: self._set_limit(client, 0))
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
        await self._client.ask(lambda client: self._set_limit(client, MAX_MESSAGE_BYTES))

    async def _until_refused(self, producer: AIOKafkaProducer, topic: Topic, partition: int) -> None:
        """Should one be taken after all, it is meant for nobody: no service reads what is another group's alone."""
        while True:
            try:
                await producer.send_and_wait(
                    self._names[topic], b"", b"", partition=partition, headers=[(ONLY_GROUP, NAME.encode())]
                )
            except MessageSizeTooLargeError:
                return
            await asyncio.sleep(ASK_AGAIN_SECONDS)

    async def _set_limit(self, client: AIOKafkaClient, limit: int) -> None:
        answer = await client.send(client.get_random_node(), _SetLimit(list(self._names.values()), limit))
        for error, message, _, name in answer.responses:
            if error:
                raise NotStarted(
                    f"Kafka does not let us set {LIMIT} of {name}, which seals and unseals it ({message or ''} "
                    f"{for_code(error).__name__}); allow this user to alter the configuration of its topics."
                )

    async def _limits(self, client: AIOKafkaClient) -> Mapping[str, int]:
        request = DescribeConfigsRequest([(TOPIC, name, [LIMIT]) for name in self._names.values()], False)
        answer = await client.send(client.get_random_node(), request)
        found = {}
        for error, _, _, name, entries in answer.resources:
            raise_for(error, f"cannot tell {LIMIT} of {name}")
            found[name] = int(entries[0][1])
        return found

    # --- records ---

    async def _fetch(
        self, client: AIOKafkaClient, source: TopicPartition, start: int
    ) -> tuple[Sequence[ReadRecord], int]:
        """The next records of a partition, and the position after them and the holes among them."""
        name = self._names[source.topic]
        cluster = await describe_ours(client, [name])
        leader = cluster.topics[name].leaders.get(source.partition)
        if leader is None:
            raise RetryLater(f"Kafka has nobody who leads {name}/{source.partition}")
        places = [(name, [(source.partition, start, BATCH_BYTES)])]
        answer = await client.send(leader, FetchRequest(0, 0, BATCH_BYTES, READ_COMMITTED, places))
        ((_, [(_, error, _, _, _, aborted, *_, data)]),) = answer.topics
        raise_for(error, f"cannot be read in {name}/{source.partition} from {start} on")
        records = PartitionRecords(
            KafkaPartition(name, source.partition),
            MemoryRecords(data),
            aborted,
            start,
            None,
            None,
            True,
            READ_COMMITTED,
        )
        found = [
            ReadRecord(
                one.key or b"", one.value or b"", {header: value or b"" for header, value in one.headers}, one.offset
            )
            for one in records
        ]
        return found, records.next_fetch_offset
