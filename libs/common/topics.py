"""The topics of the event log, and which partition of a topic a key belongs to."""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache

from aiokafka.partitioner import murmur2

PARTITIONS = 12
"""Of every topic on every engine, fixed at installation: a key must not change its partition."""


class Topic(StrEnum):
    """Each topic has one writer; its reader is in the comment."""

    TELEMETRY = "telemetry"  # ingest -> health: live product usage
    TELEMETRY_IMPORT = "telemetry-import"  # ingest -> health: history, in its own lane
    HEALTH = "health"  # health -> playbook
    TOUCHES = "touches"  # playbook -> notify
    DELIVERIES = "deliveries"  # notify -> playbook
    TELEMETRY_DLQ = "telemetry-dlq"
    TELEMETRY_IMPORT_DLQ = "telemetry-import-dlq"
    HEALTH_DLQ = "health-dlq"
    TOUCHES_DLQ = "touches-dlq"
    DELIVERIES_DLQ = "deliveries-dlq"

    @property
    def dead_letters(self) -> "Topic":
        """Where records of this topic go that its readers refuse."""
        return self if self.value.endswith("-dlq") else Topic(f"{self.value}-dlq")

    @property
    def is_history(self) -> bool:
        """What is written there can wait, and nothing else may wait for it."""
        return self in (Topic.TELEMETRY_IMPORT, Topic.TELEMETRY_IMPORT_DLQ)


READERS: Mapping[Topic, str] = {
    Topic.TELEMETRY: "health",
    Topic.TELEMETRY_IMPORT: "health",
    Topic.HEALTH: "playbook",
    Topic.TOUCHES: "notify",
    Topic.DELIVERIES: "playbook",
}
"""The service whose group reads each topic. Nobody reads the dead-letter topics: they are there to be looked at."""


@lru_cache(maxsize=65536)
def partition_of(key: bytes) -> int:
    """The partition of a key, as Kafka's own default partitioner chooses it (murmur2, positive, modulo)."""
    return int((murmur2(key) & 0x7FFFFFFF) % PARTITIONS)
