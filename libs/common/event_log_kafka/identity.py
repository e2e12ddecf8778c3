"""What a Kafka cluster knows of our topics: cluster id, topic ids, partitions and their leaders.

aiokafka stops at version 5 of the Metadata request, which has no topic ids, and asks brokers to make what is missing;
this is version 12, and it makes nothing.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from time import monotonic

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from libs.common.errors import NotStarted
from libs.common.event_log_kafka.client import NotYet, raise_for
from libs.common.topics import PARTITIONS


class Code(IntEnum):
    """Of Kafka's error codes, those that a topic of the answer may carry and that mean something to us."""

    NO_ERROR = 0
    UNKNOWN_TOPIC = 3
    NOT_ALLOWED = 29


ZERO = uuid.UUID(int=0)
KNOWN_SECONDS = 1.0
"""For a topic that was just made, or a broker that has just started, until it is known."""


class _Uuid(AbstractType[uuid.UUID]):  # type: ignore[misc] # aiokafka is not typed
    @classmethod
    def encode(cls, value: uuid.UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> uuid.UUID:
        return uuid.UUID(bytes=data.read(16))


class _MetadataResponse_v12(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequest_v12(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse_v12
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _MetadataRequest(Request[_MetadataRequest_v12]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_MetadataRequest_v12]) -> _MetadataRequest_v12:
        return request_struct_class([(ZERO, name, {}) for name in self._names], False, False, {})


@dataclass(frozen=True, slots=True)
class KnownTopic:
    """``leaders`` has each partition's broker, by number; None while nobody leads it."""

    id: uuid.UUID
    leaders: Mapping[int, int | None]


@dataclass(frozen=True, slots=True)
class Cluster:
    """``topics`` by their names on the cluster; those that are missing are missing."""

    id: str
    brokers: int
    topics: Mapping[str, KnownTopic]

    def identity_of(self, name: str) -> str:
        """Another one for a topic that was made again, and for one that got other partitions."""
        topic = self.topics[name]
        return f"kafka:{self.id}:{topic.id}:{len(topic.leaders)}"


async def describe(client: AIOKafkaClient, names: Sequence[str], avoided: Collection[int] = ()) -> Cluster:
    """Ask any broker, one of ``avoided`` only where there is no other.

    Raises NotStarted when we may not see a topic, or the broker is too old to tell its topics' ids. A broker
    that has just started, or a topic that has just been made, may take a moment to be known.
    """
    brokers = [broker.nodeId for broker in client.cluster.brokers()]
    if not brokers:  # those that have been away for long must be let in again first
        await client.force_metadata_update()
        raise NotYet("knows no broker")
    try:
        node = random.choice([one for one in brokers if one not in avoided] or brokers)  # noqa: S311 - no secret
        answer = await client.send(node, _MetadataRequest(names))
    except NotImplementedError as exc:
        raise NotStarted("This Kafka cannot tell the ids of topics; it must be version 3.1 or newer.") from exc
    topics = {}
    for error, name, topic_id, _, partitions, *_ in answer.topics:
        match error:
            case Code.NO_ERROR:
                leaders = {number: leader if leader >= 0 else None for _, number, leader, *_ in partitions}
                topics[name] = KnownTopic(topic_id, leaders)
            case Code.UNKNOWN_TOPIC:
                pass
            case Code.NOT_ALLOWED:
                raise NotStarted(f"Kafka does not let us see the topic {name}; allow this user to describe it.")
            case _:
                raise_for(error, f"cannot tell about the topic {name}")
    return Cluster(answer.cluster_id, len(answer.brokers), topics)


async def describe_ours(client: AIOKafkaClient, names: Sequence[str]) -> Cluster:
    """The same, of topics that must be there. Raises NotStarted when one is missing or has other partitions."""
    deadline = monotonic() + KNOWN_SECONDS
    while True:
        cluster = await describe(client, names)
        missing = [name for name in names if name not in cluster.topics]
        if not missing:
            break
        if monotonic() > deadline:
            raise NotStarted(
                f"Kafka has no topic {', '.join(missing)}; make what is missing with: kizashi log create (or correct "
                "KIZASHI_LOG_URL)."
            )
        await asyncio.sleep(0.1)
    for name, topic in cluster.topics.items():
        if len(topic.leaders) != PARTITIONS:
            raise NotStarted(
                f"Kafka's topic {name} has {len(topic.leaders)} partitions where this release needs {PARTITIONS}, and "
                "a key must not change its partition; delete the topic and make it with: kizashi log create."
            )
    return cluster
