"""A process that appends to an event log or reads from it, for tests that kill or freeze one.

``python -m tests.contracts.log_member read ADDRESS GROUP TOPIC`` prints a JSON line for every change of what it owns,
``{"owned": [0, 1]}``, and for every batch, ``{"partition": 0, "values": ["a"]}``.
``python -m tests.contracts.log_member append ADDRESS TOPIC PARTITION`` appends 0, 1, 2, … one by one without end and
prints ``{"durable": 0}`` after each. An address is a LogAddress as text.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from itertools import count

import structlog

from libs.common.errors import RetryLater
from libs.common.event_log import EventLog, Record, TopicPartition
from libs.common.topics import Topic
from tests.contracts.log_address import LogAddress


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


async def read(log: EventLog, group: str, topic: Topic) -> None:
    async def start_at(source: TopicPartition) -> int:
        return (await log.starts([topic]))[source]

    while True:
        try:
            async with log.subscribe(group, [topic], start_at) as subscription:
                owned: frozenset[TopicPartition] | None = None
                while True:
                    batch = await subscription.next_batch(100, 0.05)
                    if subscription.owned != owned:
                        owned = subscription.owned
                        say(owned=sorted(source.partition for source in owned))
                    if batch is not None:
                        say(partition=batch.source.partition, values=[one.value.decode() for one in batch.records])
                        await subscription.commit(batch.source, batch.end)
        except RetryLater:
            say(owned=[])


async def append(log: EventLog, topic: Topic, partition: int) -> None:
    for number in count():
        await log.append(topic, [Record(b"key", str(number).encode())], partition)
        say(durable=number)


async def main(what: str, address: str, *arguments: str) -> None:
    log = LogAddress.parse(address).log(f"member {what}")
    await log.open()
    match what, arguments:
        case "read", (group, topic):
            await read(log, group, Topic(topic))
        case "append", (topic, partition):
            await append(log, Topic(topic), int(partition))


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(main(*sys.argv[1:]))
