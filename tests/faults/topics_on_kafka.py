"""What an operator does to the town's topics on Kafka by its own tools."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from libs.common.event_log_kafka.access import brokers_of
from libs.common.testing import eventually
from libs.common.topics import PARTITIONS, Topic
from tests.faults.town import Town


@asynccontextmanager
async def admin_of(town: Town) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers_of(town.log_url))
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def make_again(town: Town, topic: Topic, partitions: int = PARTITIONS) -> str:
    """Delete it, and make another one of its name, which is the answer."""
    name = town.kafka_access.name_of(topic)
    async with admin_of(town) as admin:
        await admin.delete_topics([name])

        async def is_made() -> bool:
            answer = await admin.create_topics([NewTopic(name, partitions, 1)])
            return not any(error for _, error, *_ in answer.topic_errors)

        await eventually(is_made, within_seconds=20, what="the old topic is gone and the new one made")
    return name
