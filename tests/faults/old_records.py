"""What the town's log held before records were taken from it, so that a history can be judged without them."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import asyncpg
from aiokafka.admin import RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaPartition

from libs.common.event_log import TopicPartition
from libs.common.log_move.logs import MovableLog
from libs.common.log_move.open import origin
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.faults.history import History, LogRecord
from tests.faults.recorder import log_record
from tests.faults.topics_on_kafka import admin_of
from tests.faults.town import Town

A_DAY_LONG_GONE = "2020-01-01"


@asynccontextmanager
async def readable(town: Town) -> AsyncIterator[MovableLog]:
    """The log with records to be had from any place."""
    log = origin(town.log_url, town.postgres.owner_url, town.kafka_access)
    await log.open()
    try:
        yield log
    finally:
        await log.close()


async def records_of(log: MovableLog, sources: Collection[TopicPartition]) -> Sequence[LogRecord]:
    """All that it holds of these partitions."""
    starts, ends = await log.starts(), await log.ends()
    found = []
    for source in sources:
        begin = starts[source]
        while records := await log.read(source, begin, ends[source]):
            found += [log_record(source, one) for one in records]
            begin = records[-1].offset + 1
    return found


async def positions_of(town: Town, service: str, topic: Topic) -> Mapping[TopicPartition, int]:
    owner = await asyncpg.connect(town.postgres.owner_url)
    try:
        rows = await owner.fetch(f"SELECT partition, next FROM {service}.consumer_position WHERE topic = $1", topic)
        return {TopicPartition(topic, partition): position for partition, position in rows}
    finally:
        await owner.close()


async def expire(town: Town, source: TopicPartition, before: int) -> None:
    """Retention drops what the partition holds before that position."""
    if town.broker is None:
        await _expire_on_postgres(town, source, before)
        return
    async with admin_of(town) as admin:
        name = town.kafka_access.name_of(source.topic)
        await admin.delete_records({KafkaPartition(name, source.partition): RecordsToDelete(before)})


async def _expire_on_postgres(town: Town, source: TopicPartition, before: int) -> None:
    """They become those of a day long gone, for which no group holds retention back: a group that keeps it from its
    work is forgotten by an operator who needs the space."""
    owner = await asyncpg.connect(town.postgres.owner_url)
    ours = "(SELECT number FROM log.topic_partition WHERE topic = $1 AND partition = $2)"
    try:
        async with owner.transaction():
            await owner.execute(
                f"CREATE TABLE log.record_{A_DAY_LONG_GONE.replace('-', '')} PARTITION OF log.record "
                f"FOR VALUES FROM ('{A_DAY_LONG_GONE} 00:00+00') TO ('2020-01-02 00:00+00')"
            )
            await owner.execute(
                f"UPDATE log.record SET appended_at = '{A_DAY_LONG_GONE} 12:00+00' WHERE number = {ours} "
                "AND position < $3",
                *source,
                before,
            )
            await owner.execute(f"DELETE FROM log.group_position WHERE number = {ours}", *source)

        async def dropped() -> bool:
            try:
                rows = await owner.fetch("SELECT day, held_by FROM log.drop_old_days(1)")
            except asyncpg.LockNotAvailableError:  # somebody reads that moment; our own upkeep tries again, too
                return False
            assert [row["held_by"] for row in rows] == [None]
            return True

        await eventually(dropped, what="retention drops the day")
    finally:
        await owner.close()


def without(history: History, gone: Collection[str], were_there: Sequence[LogRecord]) -> History:
    """The history as if the events of ``gone`` had never been sent: whoever had their effect all the same is found to
    be a ghost, and an account whose story is among them must be told nothing. ``were_there`` are records that the log
    held once and that had their effect."""
    untold = {one.account_id for one in history.sent if one.message_id in gone and one.event == "Ticket Opened"}
    return dataclasses.replace(
        history,
        sent=tuple(one for one in history.sent if one.message_id not in gone),
        expected=tuple(
            dataclasses.replace(one, band="green", told_by=()) if one.account_id in untold else one
            for one in history.expected
        ),
        log=(*(history.log or ()), *were_there),
    )
