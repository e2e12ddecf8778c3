"""Asking a broker for the records of one partition, and what they are in the words of the port."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import ConsumerRecord
from aiokafka.structs import TopicPartition as KafkaPartition

from libs.common.event_log import ReadRecord
from libs.common.event_log_kafka.client import raise_for

_NO_HEADERS: Mapping[str, bytes] = MappingProxyType({})


async def fetch(
    client: AIOKafkaClient, leader: int, place: KafkaPartition, position: int, max_bytes: int, cannot: str
) -> PartitionRecords:
    """What waits at ``position``, without aborted transactions; its ``next_fetch_offset`` is after all holes too.

    ``cannot`` says what the caller could not do when the broker answers with an error (see ``raise_for``).
    """
    places = [(place.topic, [(place.partition, position, max_bytes)])]
    answer = await client.send(leader, FetchRequest(0, 0, max_bytes, READ_COMMITTED, places))
    ((_, [(_, error, _, _, _, aborted, *_, data)]),) = answer.topics
    raise_for(error, cannot)
    return PartitionRecords(place, MemoryRecords(data), aborted, position, None, None, True, READ_COMMITTED)


def as_read(record: ConsumerRecord) -> ReadRecord:
    """Others may write what we never do: no key, no value, a header without a value."""
    headers = {name: value or b"" for name, value in record.headers} if record.headers else _NO_HEADERS
    return ReadRecord(record.key or b"", record.value or b"", headers, record.offset)
