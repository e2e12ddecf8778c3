"""How the topics of the event log are set up on Kafka, and how a cluster says that they are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import DescribeConfigsRequest

from libs.common.event_log_kafka.client import raise_for
from libs.common.event_log_kafka.identity import Code

REPLICAS = 3
"""Where there are brokers for them; on two of three a record is durable."""
DAY_MILLISECONDS = 86_400_000
MAX_MESSAGE_BYTES = 1_048_588
"""Kafka's own default, said aloud because MAX_RECORD_BYTES counts on it."""
TOPIC = 2
"""What Kafka calls the kind of resource."""


def settings_of_topics(retention_days: int, replicas: int) -> Mapping[str, str]:
    """What every topic is made with."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_days * DAY_MILLISECONDS),
        "segment.ms": str(DAY_MILLISECONDS),  # whole segments are dropped, a week's would live for two
        "message.timestamp.type": "LogAppendTime",  # retention and lag go by the brokers' clocks, not by ours
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "min.insync.replicas": str(2 if replicas >= REPLICAS else 1),
        "unclean.leader.election.enable": "false",
    }


async def ask_settings(
    client: AIOKafkaClient, names: Sequence[str], settings: Collection[str]
) -> Mapping[str, Mapping[str, str]] | None:
    """Of each topic, its ``settings`` as they are; None where we may not ask."""
    request = DescribeConfigsRequest([(TOPIC, name, list(settings)) for name in names], False)
    answer = await client.send(client.get_random_node(), request)
    found = {}
    for error, _, _, name, entries in answer.resources:
        if error == Code.NOT_ALLOWED:
            return None
        raise_for(error, f"cannot tell {', '.join(settings)} of {name}")
        found[name] = {key: value for key, value, *_ in entries}
    return found
