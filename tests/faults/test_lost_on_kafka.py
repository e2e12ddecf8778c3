"""Lost records, with the event log on Kafka, and what looks like a loss there and is none."""

from __future__ import annotations

import asyncio
import dataclasses
from time import monotonic

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from deploy.local.supervisor import said_last
from libs.common.event_log import ReadRecord, TopicPartition
from libs.common.event_log_kafka.access import brokers_of
from libs.common.events import TelemetryReceived, decode, encode
from libs.common.runtime import pause
from libs.common.testing import eventually
from libs.common.topics import PARTITIONS, Topic
from tests.faults.commands import kizashi
from tests.faults.conftest import Tell
from tests.faults.every_fault import GREEN_WITHIN_SECONDS, assert_all_is_well
from tests.faults.lost_records import READERS, LostRecords, assert_nothing_else_is_missing, total
from tests.faults.old_records import positions_of, readable, records_of, without
from tests.faults.processes import CANNOT_START
from tests.faults.running import under_load
from tests.faults.schedule import Engine
from tests.faults.topics_on_kafka import make_again
from tests.faults.town import NO_ANSWER, Town

ENGINE = Engine.KAFKA
pytestmark = pytest.mark.asyncio(loop_scope="module")
PLACES = [TopicPartition(Topic.TELEMETRY, partition) for partition in range(PARTITIONS)]
RATE = 60.0
"""Of events a second: it is not how much that matters here."""
TRANSACTIONS = 12
LOOK_SECONDS = 0.1


class TestOnKafka(LostRecords):
    async def test_holes_that_a_transactional_producer_leaves_are_no_loss(self, town: Town, tell: Tell) -> None:
        async with under_load(town, rate=RATE) as run:
            since, lost_before = monotonic(), await total(town, "kizashi_consumer_position_lost_total")
            over = asyncio.Event()
            watching = asyncio.create_task(assert_always_ready(town, over))
            written = await write_in_transactions(town, await one_of_each(town))
            over.set()
            await watching
        assert_all_is_well(run, tell, f"{written} aborted records and {TRANSACTIONS} transactions of another producer")
        assert await total(town, "kizashi_consumer_position_lost_total") == lost_before
        assert town.unplanned_starts(since) == {}

    async def test_a_topic_is_made_again_under_running_services(self, town: Town, tell: Tell) -> None:
        async with under_load(town, rate=RATE) as run:
            at = run.recorder.now()
            async with run.load.held():  # so that what the old topic held can be told
                async with readable(town) as log:
                    old = await records_of(log, PLACES)
                    old_ends = await log.ends()
                await make_again(town, Topic.TELEMETRY)
            await until_health_has_ended(town)
            positions = await positions_of(town, "health", Topic.TELEMETRY)
            assert all(position <= old_ends[place] for place, position in positions.items())
            for reader in READERS:
                assert town.processes[reader].exits[-1] == CANNOT_START
                sentence = said_last(town.processes[reader].log)
                assert sentence.startswith("health has read telemetry/"), sentence
                assert sentence.endswith("or go on with this one: kizashi log adopt."), sentence
            status, said = await kizashi(town, "log", "adopt", "--yes")
            assert status == 0, said
            assert "health has read telemetry of the log kafka:" in said
            assert f"{PARTITIONS} positions begin anew" in said
            await asyncio.gather(*(town.processes[reader].start() for reader in READERS))
            run.recorder.note_fault("the topic of telemetry made again", at, run.recorder.now())
            await town.until_ready(GREEN_WITHIN_SECONDS)
        had_their_effect = [  # all of them before what the new topic holds
            dataclasses.replace(one, offset=one.offset - old_ends[PLACES[one.partition]])
            for one in old
            if one.offset < positions[PLACES[one.partition]]
        ]
        again = {one.event_id for one in [*had_their_effect, *(run.history.log or ())]}
        gone = {one.event_id for one in old} - again
        what = f"topic made again under running services ({len(gone)} records went with it)"
        assert_nothing_else_is_missing(run, without(run.history, gone, had_their_effect), tell, what)


async def assert_always_ready(town: Town, over: asyncio.Event) -> None:
    while not over.is_set():
        assert await town.problems() == {}
        await pause(over, LOOK_SECONDS)


async def one_of_each(town: Town) -> dict[TopicPartition, ReadRecord]:
    """A record of each partition that the load has brought."""
    found: dict[TopicPartition, ReadRecord] = {}

    async def of_each() -> bool:
        starts, ends = await log.starts(), await log.ends()
        for place in PLACES:
            for record in await log.read(place, starts[place], ends[place]):
                if isinstance(decode(record.value), TelemetryReceived):
                    found[place] = record
        return len(found) == PARTITIONS

    async with readable(town) as log:
        await eventually(of_each, what="each partition holds an event")
    return found


async def write_in_transactions(town: Town, samples: dict[TopicPartition, ReadRecord]) -> int:
    """Of each partition events that are aborted and would be ghosts, then a copy that is committed; every transaction
    ends with a marker in each partition. The answer is how many were aborted."""
    producer = AIOKafkaProducer(bootstrap_servers=brokers_of(town.log_url), transactional_id="another product")
    name = town.kafka_access.name_of(Topic.TELEMETRY)
    aborted = 0

    await producer.start()
    try:
        for n in range(TRANSACTIONS):
            await producer.begin_transaction()
            is_committed = n % 3 == 2
            await asyncio.gather(
                *(
                    producer.send_and_wait(
                        name, record.value if is_committed else ghost_of(record, n), record.key, place.partition
                    )
                    for place, record in samples.items()
                )
            )
            if is_committed:
                await producer.commit_transaction()
            else:
                await producer.abort_transaction()
                aborted += len(samples)
    finally:
        await producer.stop()
    return aborted


def ghost_of(record: ReadRecord, n: int) -> bytes:
    """An event that nobody sent, and that would count."""
    event = decode(record.value)
    return encode(msgspec.structs.replace(event, id=f"{event.id}-never-{n}"))


async def until_health_has_ended(town: Town) -> None:
    """Both, and nobody else; before it ends it is not ready."""

    async def has_ended() -> bool:
        problems = await town.problems()
        ended = {name for name, process in town.processes.items() if process.is_given_up}
        assert ended <= set(READERS)
        return ended == problems.keys() == set(READERS) and all(one.startswith(NO_ANSWER) for one in problems.values())

    await eventually(has_ended, within_seconds=60, what="health ends, and all others are ready")
