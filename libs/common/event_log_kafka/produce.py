"""Asking a broker to store batches, and what its refusals mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError, for_code
from aiokafka.protocol.produce import ProduceRequest

from libs.common.errors import RetryLater
from libs.common.event_log_kafka.batch import BATCH_BYTES
from libs.common.event_log_kafka.client import NO_ERROR, REQUEST_SECONDS, NotYet

ALL_IN_SYNC = -1
"""Of a partition's replicas: they have what the broker acknowledges."""


class Place(NamedTuple):
    """A partition, by the topic's name on the cluster."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


async def produce(
    client: AIOKafkaClient, broker: int, batches: Mapping[Place, bytes]
) -> Mapping[Place, NotYet | RetryLater | None]:
    """None for a batch that is durable, else why it is not: NotYet when it may be sent again as it is."""
    topics: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for place, data in batches.items():
        topics[place.topic].append((place.partition, data))
    request = ProduceRequest(None, ALL_IN_SYNC, int(REQUEST_SECONDS * 1000), list(topics.items()))
    answer = await client.send(broker, request)
    codes = {Place(topic, number): code for topic, places in answer.topics for number, code, *_ in places}
    return {place: _refusal(codes[place], place) for place in batches}


def _refusal(code: int, place: Place) -> NotYet | RetryLater | None:
    if code == NO_ERROR:
        return None
    known = for_code(code)
    if known in (MessageSizeTooLargeError, RecordListTooLargeError):
        return RetryLater(
            f"Kafka's topic {place.topic} takes no batches of {BATCH_BYTES} bytes; raise its max.message.bytes, "
            "or, where that is 0 because the log was moved away, set KIZASHI_LOG_URL to where it is now"
        )
    why = f"Kafka did not take a batch for {place} ({known.__name__})"
    return NotYet(why) if known.retriable else RetryLater(why)
