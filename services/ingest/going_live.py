"""Marks a source live: first every partition of both lanes learns it, then the table.

In this order and without an outbox, because it can be repeated as a whole: the events have the same ids each time, so
their reader takes each once, and the source is live for it only when it has read all of them. A call that fails in the
middle has done nothing wrong and is simply made again; an outbox and its relay would be a process part for one call in
the life of a source.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from libs.common.event_log import EventLog, Record
from libs.common.events import SourceWentLive, encode
from libs.common.topics import PARTITIONS, Topic

LANES = (Topic.TELEMETRY, Topic.TELEMETRY_IMPORT)


async def announce(log: EventLog, workspace: int, source: int, at: datetime) -> None:
    """Append the news to each partition of both lanes, behind all that was accepted before. ``at`` is domain time.
    Raises RetryLater when not all of them are durable."""
    await asyncio.gather(*(_announce_in(log, event) for event in announcements(workspace, source, at)))


def announcements(workspace: int, source: int, at: datetime) -> list[SourceWentLive]:
    return [
        SourceWentLive(
            workspace=workspace,
            id=f"{lane}/{partition}",
            source=source,
            in_topic=lane,
            in_partition=partition,
            occurred_at=at,
        )
        for lane in LANES
        for partition in range(PARTITIONS)
    ]


async def _announce_in(log: EventLog, event: SourceWentLive) -> None:
    await log.append(event.in_topic, [Record(event.key, encode(event))], event.in_partition)
