"""The seal of a log on Kafka that was moved away: a limit for messages that nothing passes.

Kafka has no read-only topics. But a topic whose ``max.message.bytes`` is 0 refuses every batch, whoever sends it, and
to its senders that is an error to be tried again.
"""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

from libs.common.errors import NotStarted
from libs.common.event_log_kafka.topic_settings import TOPIC, ask_settings

SET = 0
"""What Kafka calls the operation."""
LIMIT = "max.message.bytes"
SEALED = 0


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


async def set_limit(client: AIOKafkaClient, names: Sequence[str], limit: int) -> None:
    """SEALED, or the bytes that a batch may have from now on; brokers learn it a moment later.

    Raises NotStarted when we may not.
    """
    answer = await client.send(client.get_random_node(), _SetLimit(names, limit))
    for error, message, _, name in answer.responses:
        if error:
            raise NotStarted(
                f"Kafka does not let us set {LIMIT} of {name}, which seals and unseals it "
                f"({message or for_code(error).__name__}); allow this user to alter the configuration of its topics."
            )


async def is_sealed(client: AIOKafkaClient, names: Sequence[str]) -> bool:
    """Whether any of the topics is. Where we may not ask, none seems to be."""
    found = await ask_settings(client, names, [LIMIT])
    return found is not None and any(int(settings[LIMIT]) == SEALED for settings in found.values())
