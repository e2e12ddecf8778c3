"""What the event log promises on Kafka beyond the contract that every engine keeps."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import BrokerMetadata

from deploy.local.kafka import EmbeddedKafka
from libs.common.errors import InvalidEvent, NotStarted, PositionLost, RetryLater
from libs.common.event_log import (
    APPEND_SECONDS,
    MAX_RECORD_BYTES,
    Batch,
    EventLog,
    Record,
    Subscription,
    TopicPartition,
)
from libs.common.event_log_kafka import log as kafka_log
from libs.common.event_log_kafka.access import KafkaAccess, brokers_of
from libs.common.event_log_kafka.append import ROADS, Appender
from libs.common.event_log_kafka.batch import BATCH_BYTES
from libs.common.event_log_kafka.client import AGAIN_SECONDS, REQUEST_SECONDS, NotYet
from libs.common.event_log_kafka.lane import Road, Waiting
from libs.common.event_log_kafka.produce import Place
from libs.common.event_log_kafka.topics import create_topics
from libs.common.event_log_open import event_log
from libs.common.observability import REGISTRY
from libs.common.testing import eventually
from libs.common.topics import PARTITIONS, Topic
from tests.conftest import TestDatabase
from tests.contracts.log_address import LogAddress
from tests.contracts.log_engines import KafkaEngine
from tests.kafka_topics import make_topics

TOPIC = Topic.HEALTH
FIRST = TopicPartition(TOPIC, 0)
LZ4 = 3
FROZEN = 99
"""The id of a broker."""


@pytest.fixture
async def engine(kafka: EmbeddedKafka, kafka_topics: str, database: TestDatabase) -> AsyncIterator[KafkaEngine]:
    made = await KafkaEngine.make(kafka, kafka_topics, database.url)
    yield made
    await made.close()


@pytest.fixture(scope="module")
def own_topics(kafka: EmbeddedKafka) -> str:
    """The prefix of topics that no other file uses, so that they may be taken away and made again."""
    return asyncio.run(make_topics(kafka.url))


@pytest.fixture
async def own_engine(kafka: EmbeddedKafka, own_topics: str, database: TestDatabase) -> AsyncIterator[KafkaEngine]:
    made = KafkaEngine(LogAddress(kafka.url, database.url, own_topics))
    yield made
    await made.close()


def at(positions: dict[TopicPartition, int]) -> Callable[[TopicPartition], Awaitable[int]]:
    async def start_at(source: TopicPartition) -> int:
        return positions[source]

    return start_at


async def until(subscription: Subscription, position: int) -> list[Batch]:
    """The batches of partition 0 until its position is reached."""
    batches: list[Batch] = []

    async def there() -> bool:
        if (batch := await subscription.next_batch(500, 0.05)) is not None:
            batches.append(batch)
        return bool(batches) and batches[-1].end == position

    await eventually(there, what=f"position {position}")
    for before, after in pairwise(batches):
        assert before.end == after.start
    return batches


def values(batches: Sequence[Batch]) -> list[bytes]:
    return [one.value for batch in batches for one in batch.records]


def stored(broker: EmbeddedKafka, engine: KafkaEngine, source: TopicPartition) -> list[DefaultRecordBatch]:
    """The batches of a partition as they lie on the broker's disk."""
    folder: Path = broker.folder / "data" / f"{engine.name_of(source.topic)}-{source.partition}"
    records = MemoryRecords(sorted(folder.glob("*.log"))[-1].read_bytes())
    batches = []
    while records.has_next():
        batches.append(records.next_batch())
    return batches


# --- holes ---


@pytest.mark.parametrize("abort", [False, True], ids=["committed", "aborted"])
async def test_a_position_gets_over_a_transaction_at_the_end_of_the_log(engine: KafkaEngine, abort: bool) -> None:
    """Time-keeping waits for positions to reach the ends: without this it would wait for ever."""
    log = await engine.client()
    starts = await log.ends([TOPIC])
    await engine.append_in_transaction(FIRST, [Record(b"", b"a"), Record(b"", b"b")], abort=abort)
    end = (await log.ends([TOPIC]))[FIRST]
    assert end == starts[FIRST] + 3
    async with log.subscribe("group", [TOPIC], at(dict(starts))) as subscription:
        batches = await until(subscription, end)
    assert batches[0].start == starts[FIRST]
    assert values(batches) == ([] if abort else [b"a", b"b"])


async def test_aborted_records_between_others_are_a_hole_and_no_loss(engine: KafkaEngine) -> None:
    log = await engine.client()
    starts = await log.ends([TOPIC])
    await log.append(TOPIC, [Record(b"", b"before")], partition=0)
    await engine.append_in_transaction(FIRST, [Record(b"", b"never")], abort=True)
    await engine.append_in_transaction(FIRST, [Record(b"", b"foreign")])
    await log.append(TOPIC, [Record(b"", b"after")], partition=0)
    async with log.subscribe("group", [TOPIC], at(dict(starts))) as subscription:
        batches = await until(subscription, (await log.ends([TOPIC]))[FIRST])
    assert values(batches) == [b"before", b"foreign", b"after"]


async def test_what_an_open_transaction_hides_lies_before_the_end_all_the_same(engine: KafkaEngine) -> None:
    """It was acknowledged to us, so time must not go on as if we had read it."""
    log = await engine.client()
    starts = await log.ends([TOPIC])
    async with (
        engine.transactional_producer() as producer,
        log.subscribe("group", [TOPIC], at(dict(starts))) as subscription,
    ):
        await producer.begin_transaction()
        await producer.send_and_wait(engine.name_of(TOPIC), b"theirs", partition=0)
        await log.append(TOPIC, [Record(b"", b"ours")], partition=0)
        end = (await log.ends([TOPIC]))[FIRST]
        assert end == starts[FIRST] + 2
        assert await subscription.next_batch(500, 0.5) is None
        await producer.commit_transaction()
        batches = await until(subscription, end + 1)
    assert values(batches) == [b"theirs", b"ours"]


async def test_when_a_record_was_appended_is_told_over_aborted_ones_too(engine: KafkaEngine) -> None:
    log = await engine.client()
    start = (await log.ends([TOPIC]))[FIRST]
    await engine.append_in_transaction(FIRST, [Record(b"", b"never")], abort=True)
    assert await log.appended_at({FIRST: start}) == {}
    await log.append(TOPIC, [Record(b"", b"first")], partition=0)
    found = await log.appended_at({FIRST: start})
    assert found == await log.appended_at({FIRST: start + 2})
    assert set(found) == {FIRST}
    assert found == await log.appended_at({FIRST: 0}), "what was dropped was not appended"


async def test_a_foreign_record_without_key_value_or_value_of_a_header_is_empty_there(engine: KafkaEngine) -> None:
    log = await engine.client()
    starts = await log.ends([TOPIC])
    producer = AIOKafkaProducer(bootstrap_servers=brokers_of(engine.address.url))
    await producer.start()
    await producer.send_and_wait(engine.name_of(TOPIC), value=b"no key", partition=0)
    await producer.send_and_wait(engine.name_of(TOPIC), key=b"no value", partition=0, headers=[("header", None)])
    await producer.stop()
    async with log.subscribe("group", [TOPIC], at(dict(starts))) as subscription:
        batches = await until(subscription, starts[FIRST] + 2)
    found = [(one.key, one.value, dict(one.headers)) for batch in batches for one in batch.records]
    assert found == [(b"", b"no key", {}), (b"no value", b"", {"header": b""})]


# --- append ---


async def test_what_is_appended_is_compressed_and_told_by_the_brokers_clock(
    engine: KafkaEngine, kafka: EmbeddedKafka
) -> None:
    log = await engine.client()
    await log.append(TOPIC, [Record(b"", b"the same again and again " * 40) for _ in range(100)], partition=5)
    batch = stored(kafka, engine, TopicPartition(TOPIC, 5))[-1]
    assert batch.compression_type == LZ4
    assert batch.timestamp_type == 1
    assert not batch.is_transactional


async def test_concurrent_appends_travel_together(engine: KafkaEngine, kafka: EmbeddedKafka) -> None:
    log = await engine.client()
    await log.append(TOPIC, [Record(b"", b"warm")], partition=6)
    before = len(stored(kafka, engine, TopicPartition(TOPIC, 6)))
    await asyncio.gather(*(log.append(TOPIC, [Record(b"", str(n).encode())], partition=6) for n in range(300)))
    batches = stored(kafka, engine, TopicPartition(TOPIC, 6))[before:]
    assert len(batches) <= 5
    assert [one.value for batch in batches for one in batch] == [str(n).encode() for n in range(300)]


async def test_what_waits_for_all_partitions_travels_in_few_requests(engine: KafkaEngine) -> None:
    log = await engine.client()
    await log.append(TOPIC, [Record(b"", b"warm")], partition=0)
    before = waves()
    calls = [log.append(TOPIC, [Record(b"", b"value")], partition=number % PARTITIONS) for number in range(300)]
    await asyncio.gather(*calls)
    assert waves() - before <= 3 * ROADS, "who leads was not known of all, and some came while a wave was on its way"


def waves() -> float:
    return REGISTRY.get_sample_value("kizashi_log_append_seconds_count") or 0.0


async def test_a_call_larger_than_a_batch_arrives_in_its_order(engine: KafkaEngine) -> None:
    log = await engine.client()
    starts = await log.ends([TOPIC])
    numbers = [f"{number:06}".encode() * 30 for number in range(3 * BATCH_BYTES // 180)]
    await log.append(TOPIC, [Record(b"1:key", number) for number in numbers], partition=0)
    async with log.subscribe("group", [TOPIC], at(dict(starts))) as subscription:
        batches = await until(subscription, starts[FIRST] + len(numbers))
    assert values(batches) == numbers


async def test_a_record_with_too_many_headers_is_refused_by_us_and_not_by_kafka(engine: KafkaEngine) -> None:
    log = await engine.client()
    largest = Record(b"", bytes(MAX_RECORD_BYTES - 20_000), {f"{n:03}": b"" for n in range(1000)})
    await log.append(TOPIC, [largest], partition=0)
    with pytest.raises(InvalidEvent, match="at most"):
        await log.append(TOPIC, [Record(b"", bytes(MAX_RECORD_BYTES - 20_000), {f"{n:05}": b"" for n in range(3000)})])


async def test_what_cannot_be_packed_takes_nothing_with_it_that_waits_behind(engine: KafkaEngine) -> None:
    log = await engine.client()
    starts = await log.ends([TOPIC])
    unpackable = log.append(TOPIC, [Record(b"", "no bytes")], partition=0)  # type: ignore[arg-type]
    behind = (log.append(TOPIC, [Record(b"", value)], partition=0) for value in (b"first", b"second"))
    outcomes = await asyncio.gather(unpackable, *behind, return_exceptions=True)
    assert isinstance(outcomes[0], RetryLater)
    assert "cannot be packed" in str(outcomes[0])
    assert outcomes[1:] == [None, None]
    async with log.subscribe("group", [TOPIC], at(dict(starts))) as subscription:
        batches = await until(subscription, starts[FIRST] + 2)
    assert values(batches) == [b"first", b"second"]


async def test_a_connection_that_broke_is_made_again_and_nobody_hears_of_it(engine: KafkaEngine) -> None:
    log = await engine.client()
    await log.append(TOPIC, [Record(b"", b"before")], partition=0)
    for client in log._appenders[TOPIC]._clients.values():  # type: ignore[attr-defined]
        for connection in client._client._conns.values():
            connection._writer.transport.abort()
    before = await log.ends([TOPIC])
    await log.append(TOPIC, [Record(b"", b"after")], partition=0)
    assert (await log.ends([TOPIC]))[FIRST] == before[FIRST] + 1


async def test_what_is_appended_waits_for_a_partition_to_get_its_leader(own_engine: KafkaEngine) -> None:
    log = await own_engine.client()
    async with own_engine.admin() as admin:
        await admin.delete_topics([own_engine.name_of(Topic.TOUCHES_DLQ)])
    appending = asyncio.create_task(log.append(Topic.TOUCHES_DLQ, [Record(b"", b"value")], partition=0))
    await asyncio.wait([appending], timeout=0.3)
    assert not appending.done()
    await create_topics(own_engine.address.url, own_engine.address.kafka, retention_days=7)
    await appending
    assert sum((await log.ends([Topic.TOUCHES_DLQ])).values()) == 1


async def test_nothing_waits_for_what_is_gathered_for_another_topic(engine: KafkaEngine) -> None:
    log = await engine.client()
    record = [Record(b"", b"value")]
    await asyncio.gather(*(log.append(topic, record, partition=0) for topic in (TOPIC, Topic.TELEMETRY_IMPORT)))

    async def import_on() -> None:
        while True:
            await asyncio.gather(*(log.append(Topic.TELEMETRY_IMPORT, record, partition=n % 12) for n in range(50)))

    importing = asyncio.create_task(import_on())
    departures = log._appenders[TOPIC]._tempo  # type: ignore[attr-defined]
    for _ in range(20):
        await log.append(TOPIC, record, partition=0)
        assert departures.rest_seconds() == 0, "it is alone, and whatever history gathers is no matter of it"
    importing.cancel()
    await asyncio.wait([importing])


async def test_whoever_waits_when_the_log_is_closed_is_told_at_once(engine: KafkaEngine) -> None:
    appender = await like_the_usual(engine, Appender)
    await appender.append([Record(b"", b"value")], 0)
    waiting = asyncio.create_task(appender.append([Record(b"", b"value")], 0))
    await asyncio.sleep(0)
    appender._depart()  # and nothing of what it began has run yet
    await appender.close()
    done, _ = await asyncio.wait([waiting], timeout=1)
    assert done
    with pytest.raises(RetryLater, match="closed"):
        await waiting


async def like_the_usual(engine: KafkaEngine, kind: type[Appender]) -> Appender:
    log = await engine.client()
    return kind(
        engine.name_of(TOPIC),
        log._arguments,  # type: ignore[attr-defined]
        "test",
        roads=ROADS,
        asking=log._client,  # type: ignore[attr-defined]
        waiting=Waiting(),
        append_seconds=APPEND_SECONDS,
    )


class OnePartitionRefused(Appender):
    """As by a broker that misses its replicas. One broker alone never does."""

    async def _answers(self, road: Road, batches: Mapping[Place, bytes]) -> Mapping[Place, NotYet | RetryLater | None]:
        others = {place: data for place, data in batches.items() if place.partition}
        answers = await super()._answers(road, others) if others else {}
        return {place: answers[place] if place.partition else NotYet("not now") for place in batches}


async def test_a_partition_that_takes_nothing_delays_no_other_of_its_road(engine: KafkaEngine) -> None:
    appender = await like_the_usual(engine, OnePartitionRefused)
    records = [Record(b"", b"value")]
    await appender.append(records, ROADS)
    refused = asyncio.create_task(appender.append(records, 0))
    others = 0
    while not refused.done():
        await appender.append(records, ROADS)
        others += 1
    with pytest.raises(RetryLater, match="not now"):
        await refused
    await appender.close()
    assert others > 3 * REQUEST_SECONDS / AGAIN_SECONDS, "they waited whenever the broker refused that partition"


async def test_who_leads_is_not_asked_of_a_broker_that_gave_no_answer(engine: KafkaEngine) -> None:
    """It would keep the question until what waits had to be given up, although others know."""
    appender = await like_the_usual(engine, Appender)
    records = [Record(b"", b"value")]
    await appender.append(records, 0)
    with socket.create_server(("127.0.0.1", 0)) as frozen:  # takes connections and says nothing

        async def meet(client: AIOKafkaClient) -> None:
            client.cluster._brokers[FROZEN] = BrokerMetadata(FROZEN, *frozen.getsockname(), None)

        await appender._asking.ask(meet)
        for _ in range(8):  # of two brokers one is asked by chance
            appender._lanes[0].road = Road(FROZEN, 0)
            await appender.append(records, 0)
    await appender.close()


# --- what Kafka's own tools see ---


async def test_kafka_is_told_how_far_a_group_is_and_of_no_member(engine: KafkaEngine) -> None:
    log = await engine.client()
    group = f"group of {engine.address.topic_prefix}"
    starts = await log.ends([TOPIC])
    async with log.subscribe(group, [TOPIC], at(dict(starts))) as subscription, engine.admin() as admin:
        await log.append(TOPIC, [Record(b"", b"value")] * 2, partition=0)
        await until(subscription, starts[FIRST] + 2)

        async def told(position: int) -> bool:
            await subscription.next_batch(500, 0.05)
            committed = await admin.list_consumer_group_offsets(group)
            place = engine.on_kafka(FIRST)
            return place in committed and committed[place].offset == position

        await eventually(lambda: told(starts[FIRST]), what="where it began, although it has read on")
        await subscription.commit(FIRST, starts[FIRST] + 1)
        await eventually(lambda: told(starts[FIRST] + 1))
        ((_, _, state, _, _, members, *_),) = (await admin.describe_consumer_groups([group]))[0].groups
        assert (state, members) == ("Empty", [])
        await subscription.commit(FIRST, starts[FIRST] + 2)  # what is told last, by who leaves
    async with engine.admin() as admin:
        assert (await admin.list_consumer_group_offsets(group))[engine.on_kafka(FIRST)].offset == starts[FIRST] + 2


# --- topics ---


async def remake(engine: KafkaEngine, topic: Topic, partitions: int = PARTITIONS) -> None:
    """Delete the topic and make it again, at once."""
    name = engine.name_of(topic)
    async with engine.admin() as admin:
        await admin.delete_topics([name])

        async def gone() -> bool:
            return name not in await admin.list_topics()

        await eventually(gone)
        await admin.create_topics([NewTopic(name, partitions, 1)])

        async def there() -> bool:
            return name in await admin.list_topics()

        await eventually(there)


async def test_a_topic_that_was_made_again_is_another_one_and_a_reader_of_the_old_one_ends(
    own_engine: KafkaEngine,
) -> None:
    log = await own_engine.client()
    for _ in range(3):
        await log.append(TOPIC, [Record(b"", b"old")], partition=0)
    old, other = await log.identity(TOPIC), await log.identity(Topic.TOUCHES)
    starts = await log.starts([TOPIC])
    async with log.subscribe("group", [TOPIC], at(dict(starts))) as subscription:
        await until(subscription, starts[FIRST] + 3)
        await remake(own_engine, TOPIC)

        async def read_on() -> None:
            while True:
                for record in ((await subscription.next_batch(500, 0.05)) or Batch(FIRST, 0, 0, [])).records:
                    assert record.value == b"old"

        with pytest.raises(RetryLater, match=re.escape(old)):
            await asyncio.wait_for(read_on(), 10)
    assert await log.identity(TOPIC) != old
    assert await log.identity(Topic.TOUCHES) == other
    await log.append(TOPIC, [Record(b"", b"new")], partition=0)


@pytest.fixture
def without_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was let in before believes a refusal at once, and not only when it has stood for a while."""
    monkeypatch.setattr(kafka_log, "DOUBT_SECONDS", 0.0)


async def test_a_passing_refusal_ends_nobody_who_was_let_in_before(own_engine: KafkaEngine) -> None:
    log = await own_engine.client()
    async with own_engine.admin() as admin:
        await admin.delete_topics([own_engine.name_of(Topic.TOUCHES_DLQ)])
    with pytest.raises(RetryLater, match="no topic"):
        await log.ends([Topic.TOUCHES_DLQ])
    await create_topics(own_engine.address.url, own_engine.address.kafka, retention_days=7)
    assert len(await log.ends([Topic.TOUCHES_DLQ])) == PARTITIONS


@pytest.mark.usefixtures("without_doubt")
async def test_a_topic_that_is_missing_is_one_sentence(own_engine: KafkaEngine) -> None:
    name = own_engine.name_of(Topic.TOUCHES_DLQ)
    log = await own_engine.client()
    async with own_engine.admin() as admin:
        await admin.delete_topics([name])
    with pytest.raises(NotStarted, match=f"no topic {name}; make what is missing with: kizashi log create"):
        await own_engine.client()
    with pytest.raises(NotStarted, match="no topic"):
        await log.ends([Topic.TOUCHES_DLQ])
    made = await create_topics(own_engine.address.url, own_engine.address.kafka, retention_days=7)
    assert list(made.made) == [name]
    assert len(made.were_there) == len(Topic) - 1
    await own_engine.client()


@pytest.mark.parametrize("partitions", [PARTITIONS - 1, PARTITIONS + 1])
async def test_other_partitions_are_one_sentence(own_engine: KafkaEngine, partitions: int) -> None:
    name = own_engine.name_of(Topic.HEALTH_DLQ)
    await remake(own_engine, Topic.HEALTH_DLQ, partitions)
    try:
        with pytest.raises(NotStarted, match=f"{name} has {partitions} partitions where this release needs 12"):
            await own_engine.client()
        with pytest.raises(NotStarted, match=f"{name} has {partitions} partitions where this release needs 12"):
            await create_topics(own_engine.address.url, own_engine.address.kafka, retention_days=7)
    finally:
        await remake(own_engine, Topic.HEALTH_DLQ)


@pytest.mark.usefixtures("without_doubt")
async def test_a_topic_that_got_more_partitions_is_noticed_while_it_is_read(own_engine: KafkaEngine) -> None:
    log = await own_engine.client()
    topic = Topic.DELIVERIES_DLQ
    starts = await log.starts([topic])
    async with log.subscribe("group", [topic], at(dict(starts))) as subscription:
        await subscription.next_batch(500, 0.1)
        async with own_engine.admin() as admin:
            await admin.create_partitions({own_engine.name_of(topic): NewPartitions(PARTITIONS + 1)})

        async def read_on() -> None:
            while True:
                await subscription.next_batch(500, 0.05)

        with pytest.raises(NotStarted, match="has 13 partitions"):
            await asyncio.wait_for(read_on(), 10)
    await remake(own_engine, topic)


async def test_topics_are_made_with_their_retention(kafka: EmbeddedKafka, own_topics: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=brokers_of(kafka.url))
    await admin.start()
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, f"{own_topics}telemetry")])
    await admin.close()
    found = {name: value for *_, settings in answers[0].resources for name, value, *_ in settings}
    week = str(7 * 24 * 3600 * 1000)
    assert found["retention.ms"] == week
    assert found["segment.ms"] == str(24 * 3600 * 1000)
    assert found["cleanup.policy"] == "delete"
    assert found["message.timestamp.type"] == "LogAppendTime"
    assert int(found["max.message.bytes"]) >= MAX_RECORD_BYTES + 8_000


async def test_more_copies_than_brokers_are_refused_in_kafkas_words(kafka: EmbeddedKafka) -> None:
    access = KafkaAccess(topic_prefix="too-many-copies.")
    with pytest.raises(NotStarted, match=r"does not make the topic too-many-copies\.\S+: .*replicat"):
        await create_topics(kafka.url, access, retention_days=7, replicas=3)


# --- refusals ---


async def test_who_has_no_locks_cannot_read(kafka: EmbeddedKafka, kafka_topics: str) -> None:
    log: EventLog = event_log(kafka.url, name="test", kafka=KafkaAccess(topic_prefix=kafka_topics))
    await log.open()
    with pytest.raises(NotStarted, match="locks"):
        async with log.subscribe("group", [TOPIC], at({})):
            pass
    await log.close()


async def test_a_position_behind_the_end_of_its_partition_alone_is_lost(engine: KafkaEngine) -> None:
    log = await engine.client()
    ends = dict(await log.ends([TOPIC]))
    lost = ends | {FIRST: ends[FIRST] + 1}
    async with log.subscribe("group", [TOPIC], at(lost)) as subscription:
        with pytest.raises(PositionLost, match=f"position {ends[FIRST] + 1}: the log holds"):
            await until(subscription, ends[FIRST] + 1)
