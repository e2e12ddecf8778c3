"""Topics of our own on a broker, under a prefix that nobody else has."""

from __future__ import annotations

import uuid

from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.log import KafkaEventLog
from libs.common.event_log_kafka.topics import create_topics
from libs.common.topics import Topic


async def make_topics(url: str) -> str:
    """Their prefix, once they can be written to, which takes seconds."""
    prefix = f"test-{uuid.uuid4().hex[:8]}."
    access = KafkaAccess(topic_prefix=prefix)
    await create_topics(url, access, retention_days=7)
    log = KafkaEventLog(url, access, name="test")
    await log.open()
    await log.ends(list(Topic))
    await log.close()
    return prefix
