"""The event log that an installation starts on: it answers, has its topics, and is the one its data belong to."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import EventLog
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.topics import create_topics
from libs.common.topics import Topic

_POSITIONS = """
SELECT DISTINCT topic, log_identity FROM (
    SELECT topic, log_identity FROM health.consumer_position
    UNION ALL SELECT topic, log_identity FROM playbook.consumer_position
    UNION ALL SELECT topic, log_identity FROM notify.consumer_position
) AS positions ORDER BY topic
"""
_POSTGRES = "SELECT id::text FROM log.identity"


async def make_topics(url: str, retention_days: int) -> None:
    """Of a broker of our own, which nobody else makes them for. Raises NotStarted."""
    try:
        await create_topics(url, KafkaAccess(), retention_days=retention_days)
    except RetryLater as exc:
        raise NotStarted(f"The topics cannot be made on {url}: {exc}.") from exc


async def reads_from_postgres(owner_url: str) -> bool:
    """Whether the home's services have their positions in its PostgreSQL, as they have before they read anything."""
    read, postgres = await _positions(owner_url)
    return all(identity == postgres for _, identity in read)


async def expect_its_own_log(log: EventLog, url: str, owner_url: str, home: Path, *, is_new: bool) -> None:
    """Raises NotStarted when the home's services have read another log, when this one does not answer or lacks topics,
    or when a new home would read what somebody else has written."""
    if url.startswith("postgresql://") and not await reads_from_postgres(owner_url):
        raise _another_log(home, was_postgres=False)
    try:
        try:
            await log.open()
            read, postgres = await _positions(owner_url)
            for topic, identity in read:
                if identity != await log.identity(topic):
                    raise _another_log(home, was_postgres=identity == postgres)
            if is_new:
                await _expect_nothing_written(log, url)
        finally:
            await log.close()
    except RetryLater as exc:
        raise NotStarted(
            f"The event log at {url} cannot be used: {exc}. Start it, or correct KIZASHI_LOG_URL."
        ) from exc


async def _positions(owner_url: str) -> tuple[list[tuple[Topic, str]], str]:
    """Each topic that the services have read with the identity of its log, and the identity of PostgreSQL's log."""
    owner = await asyncpg.connect(owner_url, timeout=10)
    try:
        read = await owner.fetch(_POSITIONS)
        return [(Topic(topic), identity) for topic, identity in read], await owner.fetchval(_POSTGRES)
    finally:
        await owner.close()


def _another_log(home: Path, *, was_postgres: bool) -> NotStarted:
    was = (
        "in PostgreSQL: start it without LOG and KIZASHI_LOG_URL"
        if was_postgres
        else "on Kafka: start it with the LOG=kafka or the KIZASHI_LOG_URL that it had"
    )
    return NotStarted(
        f"{home} cannot be started on this event log, because it has read its records from another one, {was}, "
        "take it here on purpose with `make move`, or name another folder with KIZASHI_HOME."
    )


async def _expect_nothing_written(log: EventLog, url: str) -> None:
    starts, ends = await log.starts(list(Topic)), await log.ends(list(Topic))
    used = sorted({source.topic for source, end in ends.items() if end > starts[source]})
    if used:
        raise NotStarted(
            f"This home is new, but the topic {used[0]} on {url} holds records of another installation, and would be "
            "read from the beginning; name that installation's folder with KIZASHI_HOME, or delete the topics."
        )
