"""Reads all telemetry of a log and does nothing with it: python -m bench.raw_read COUNT prints how many records came
each second. The address of the log and that of the locks are in the environment, as for a service."""

from __future__ import annotations

import sys
from time import monotonic

import uvloop

from libs.common.event_log import EventLog, TopicPartition
from libs.common.event_log_open import event_log
from libs.common.observability import configure_logging
from libs.common.settings import CommonSettings, load
from libs.common.topics import Topic
from services.health.app import BATCH_SIZE


async def records_per_s(log: EventLog, count: int) -> float:
    """``count`` records, from the earliest that the log holds; the first batch starts the watch."""
    starts = await log.starts([Topic.TELEMETRY])

    async def start_at(source: TopicPartition) -> int:
        return starts[source]

    begun_at = read = first = 0.0
    async with log.subscribe("raw-read", [Topic.TELEMETRY], start_at) as subscription:
        while read < count:
            batch = await subscription.next_batch(BATCH_SIZE, 1.0)
            if batch is None:
                continue
            read += len(batch.records)
            if not begun_at:
                begun_at, first = monotonic(), read
    return (read - first) / (monotonic() - begun_at)


async def main() -> None:
    settings = load(CommonSettings)
    configure_logging("raw-read", "error")
    log = event_log(settings.event_log_url, name="raw-read", kafka=settings.kafka_access)
    await log.open()
    try:
        print(await records_per_s(log, int(sys.argv[1])))
    finally:
        await log.close()


if __name__ == "__main__":
    uvloop.run(main())
