"""The event log that an installation starts on: it answers, has its topics, and is the one its data belong to."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import EventLog
from libs.common.event_log_kafka_access import KafkaAccess
from libs.common.event_log_kafka_topics import create_topics
from libs.common.topics import Topic

_POSITIONS = """
SELECT DISTINCT topic, log_identity FROM (
    SELECT topic, log_identity FROM health.consumer_position
    UNION ALL SELECT topic, log_identity FROM playbook.consumer_position
    UNION ALL SELECT topic, log_identity FROM notify.consumer_position
) AS positions ORDER BY topic
"""


async def make_topics(url: str, retention_days: int) -> None:
    """Of a broker of our own, which nobody else makes them for. Raises NotStarted."""
    try:
        await create_topics(url, KafkaAccess(), retention_days=retention_days)
    except RetryLater as exc:
        raise NotStarted(f"The topics cannot be made on {url}: {exc}.") from exc


async def expect_its_own_log(log: EventLog, url: str, owner_url: str, home: Path, *, is_new: bool) -> None:
    """Raises NotStarted when the log does not answer or lacks topics, when the home's services have read another one,
    or when a new home would read what somebody else has written."""
    try:
        try:
            await log.open()
            await _expect_known_positions(log, owner_url, home)
            if is_new:
                await _expect_nothing_written(log, url)
        finally:
            await log.close()
    except RetryLater as exc:
        raise NotStarted(
            f"The event log at {url} cannot be used: {exc}. Start it, or correct KIZASHI_LOG_URL."
        ) from exc


async def _expect_known_positions(log: EventLog, owner_url: str, home: Path) -> None:
    owner = await asyncpg.connect(owner_url, timeout=10)
    try:
        read = await owner.fetch(_POSITIONS)
        postgres = await owner.fetchval("SELECT id::text FROM log.identity")
    finally:
        await owner.close()
    for row in read:
        if row["log_identity"] != await log.identity(Topic(row["topic"])):
            was = (
                "from another log, in PostgreSQL: start it without LOG and KIZASHI_LOG_URL"
                if row["log_identity"] == postgres
                else "from another log, on Kafka: start it with the LOG=kafka or the KIZASHI_LOG_URL that it had"
            )
            raise NotStarted(
                f"{home} cannot be started on this event log, because it has read its records {was}, move them on "
                "purpose with `kizashi log move`, or name another folder with KIZASHI_HOME."
            )


async def _expect_nothing_written(log: EventLog, url: str) -> None:
    starts, ends = await log.starts(list(Topic)), await log.ends(list(Topic))
    used = sorted({source.topic for source, end in ends.items() if end > starts[source]})
    if used:
        raise NotStarted(
            f"This home is new, but the topic {used[0]} on {url} holds records of another installation, and would be "
            "read from the beginning; name that installation's folder with KIZASHI_HOME, or delete the topics."
        )
