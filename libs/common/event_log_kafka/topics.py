"""Makes the event log's topics on a Kafka cluster, on purpose and never by accident (``kizashi log create``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import CreateTopicsRequest

from libs.common.errors import NotStarted
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.client import REQUEST_SECONDS, KafkaClient, raise_for
from libs.common.event_log_kafka.identity import describe, describe_ours
from libs.common.event_log_kafka.topic_settings import REPLICAS, settings_of_topics
from libs.common.topics import PARTITIONS, Topic

ALREADY_THERE = 36
NOT_ALLOWED = (29, 31)
"""To make topics, or to do anything with the cluster."""


@dataclass(frozen=True, slots=True)
class Created:
    """By their names on the cluster."""

    made: Sequence[str]
    were_there: Sequence[str]
    replicas: int


async def create_topics(url: str, access: KafkaAccess, *, retention_days: int, replicas: int | None = None) -> Created:
    """Make the topics that are missing. Those that are there are left as they are, retention included.

    Without ``replicas`` there are three, or as many as there are brokers. Raises NotStarted when a topic that is there
    has other partitions, or when Kafka refuses; RetryLater when it does not answer.
    """
    client = KafkaClient(access.client_arguments(url), "kizashi log create")
    names = [access.name_of(topic) for topic in Topic]
    try:
        cluster = await client.ask(lambda asked: describe(asked, names))
        missing = [name for name in names if name not in cluster.topics]
        copies = replicas or min(REPLICAS, cluster.brokers)
        await client.ask(lambda asked: _make(asked, missing, copies, retention_days))
        await client.ask(lambda asked: describe_ours(asked, names))
    finally:
        await client.close()
    return Created(made=missing, were_there=[name for name in names if name not in missing], replicas=copies)


async def _make(client: AIOKafkaClient, names: Sequence[str], replicas: int, retention_days: int) -> None:
    if not names:
        return
    settings = settings_of_topics(retention_days, replicas)
    chosen_by_kafka: list[object] = []  # which broker holds what
    wanted = [(name, PARTITIONS, replicas, chosen_by_kafka, list(settings.items())) for name in names]
    node = client.get_random_node()  # any broker passes it on to the controller
    answer = await client.send(node, CreateTopicsRequest(wanted, int(REQUEST_SECONDS * 1000), False))
    for name, error, message in answer.topic_errors:
        if error in NOT_ALLOWED:
            raise NotStarted(f"Kafka does not let us make the topic {name}; allow this user to create it.")
        if error and error != ALREADY_THERE and not for_code(error).retriable:  # there: somebody else was faster
            raise NotStarted(f"Kafka does not make the topic {name}: {message or for_code(error).__name__}.")
        if error != ALREADY_THERE:
            raise_for(error, f"cannot make the topic {name}")
