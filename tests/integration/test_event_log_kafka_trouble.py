"""A Kafka broker that is frozen or killed, and what aiokafka never notices of it by itself."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest

from libs.common.errors import RetryLater
from libs.common.event_log import EventLog, Record, Subscription, TopicPartition
from libs.common.event_log_kafka import subscription as kafka_subscription
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_open import event_log
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.conftest import TestDatabase
from tests.fragile_kafka import FragileKafka

TOPIC = Topic.HEALTH
FIRST = TopicPartition(TOPIC, 0)


@pytest.fixture(scope="module")
def broker(kafka_jars: Path) -> Iterator[FragileKafka]:
    home = Path(tempfile.mkdtemp(prefix="kizashi-trouble-"))
    made = FragileKafka(home / "kafka", kafka_jars)
    yield made
    made.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def log(broker: FragileKafka, database: TestDatabase) -> AsyncIterator[EventLog]:
    access = KafkaAccess(locks_url=database.url, topic_prefix=broker.topic_prefix)
    opened = event_log(broker.url, name="test", kafka=access)
    await opened.open()
    yield opened
    await opened.close()


async def from_the_end(log: EventLog) -> Callable[[TopicPartition], Awaitable[int]]:
    ends = await log.ends(list(Topic))

    async def start_at(source: TopicPartition) -> int:
        return ends[source]

    return start_at


async def read(subscription: Subscription, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        if (batch := await subscription.next_batch(500, 5)) is not None:
            found += [one.value for one in batch.records]
    return found


async def look_for(subscription: Subscription, seconds: float) -> None:
    """The last look begins after so many seconds, however slow the machine is."""
    looked_at = monotonic()
    last = looked_at + seconds
    while looked_at < last:
        looked_at = monotonic()
        await subscription.next_batch(100, 0.05)


# --- reading ---


async def test_a_silent_partition_is_an_error_although_the_client_reports_none(
    broker: FragileKafka, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when one broker of several is frozen: what else is asked of Kafka is answered."""
    monkeypatch.setattr(kafka_subscription, "LOOK_SECONDS", 3600.0)
    start_at = await from_the_end(log)
    await log.append(TOPIC, [Record(b"", b"first")], partition=0)
    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        assert await read(subscription, 1) == [b"first"]
        with broker.frozen(), pytest.raises(RetryLater, match=r"has said nothing about \S+health/\d+ for \d+ s"):
            await look_for(subscription, kafka_subscription.SILENCE_SECONDS + 1)


async def test_a_coordinator_that_does_not_answer_delays_nobody(broker: FragileKafka, log: EventLog) -> None:
    start_at = await from_the_end(log)
    await log.append(TOPIC, [Record(b"", b"value")] * 3, partition=0)
    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        batch = await subscription.next_batch(1, 10)
        assert batch is not None
        with broker.frozen():
            began = monotonic()
            await subscription.commit(batch.source, batch.end)
            assert monotonic() - began < 0.1
            leaving = monotonic()
            await subscription.leave()  # type: ignore[attr-defined] # what the end of the subscription does
            assert monotonic() - leaving < 4


async def test_reading_goes_on_after_a_freeze_that_is_shorter_than_any_deadline(
    broker: FragileKafka, log: EventLog
) -> None:
    start_at = await from_the_end(log)
    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        await subscription.next_batch(100, 0.5)
        appending = asyncio.create_task(log.append(TOPIC, [Record(b"", b"value")], partition=0))
        with broker.frozen():
            waiting = asyncio.create_task(read(subscription, 1))
            await asyncio.wait([appending], timeout=2)
            assert not appending.done() or appending.result() is None
        await appending
        assert await waiting == [b"value"]


# --- appending ---


async def test_order_is_kept_when_appends_are_repeated_around_a_killed_broker(
    broker: FragileKafka, log: EventLog
) -> None:
    """What a retry writes twice is no harm; what comes first of each number comes in order, and none is missing."""
    start_at = await from_the_end(log)
    count, acknowledged = 150, 0

    async def write(name: int) -> None:
        nonlocal acknowledged
        for number in range(count):
            record = Record(f"1:{name}".encode(), f"{name} {number}".encode())
            while True:
                try:
                    await log.append(TOPIC, [record])
                    break
                except RetryLater:
                    await asyncio.sleep(0.05)
            acknowledged += 1

    async def well_on_its_way() -> bool:
        return acknowledged > 4 * 20

    writers = [asyncio.create_task(write(name)) for name in range(4)]
    await eventually(well_on_its_way)
    broker.kill()
    await asyncio.to_thread(broker.start)
    await asyncio.wait_for(asyncio.gather(*writers), 30)
    first: dict[str, list[int]] = {}
    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        while sum(map(len, first.values())) < 4 * count:
            for value in await read(subscription, 1):
                name, number = value.decode().split()
                seen = first.setdefault(name, [])
                if int(number) not in seen:
                    seen.append(int(number))
    assert first == {str(name): list(range(count)) for name in range(4)}


async def test_too_much_waiting_is_refused_at_once_and_what_waits_is_stored(
    broker: FragileKafka, log: EventLog
) -> None:
    before = await log.ends([TOPIC])
    megabyte = Record(b"1:key", bytes(1_000_000))
    with broker.frozen():
        waiting = [asyncio.create_task(log.append(TOPIC, [megabyte])) for _ in range(75)]
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_EXCEPTION, timeout=2)
        assert done, "refused at once"
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [one for one in outcomes if one is not None]
    assert 0 < len(refused) < 15
    assert all(isinstance(one, RetryLater) for one in refused)
    after = await log.ends([TOPIC])
    assert sum(after.values()) - sum(before.values()) == 75 - len(refused)


async def test_what_is_given_up_while_it_waits_is_not_stored(broker: FragileKafka, log: EventLog) -> None:
    start_at = await from_the_end(log)
    with broker.frozen():
        on_its_way = asyncio.create_task(log.append(TOPIC, [Record(b"", b"first")], partition=0))
        await asyncio.wait([on_its_way], timeout=0.2)
        given_up = asyncio.create_task(log.append(TOPIC, [Record(b"", b"second")], partition=0))
        kept = asyncio.create_task(log.append(TOPIC, [Record(b"", b"third")], partition=0))
        await asyncio.wait([given_up, kept], timeout=0.2)
        given_up.cancel()
    await asyncio.gather(on_its_way, kept)
    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        assert await read(subscription, 2) == [b"first", b"third"]


async def test_what_was_given_up_takes_no_room_from_others_while_a_wave_hangs(
    broker: FragileKafka, log: EventLog
) -> None:
    start_at = await from_the_end(log)
    with broker.frozen():
        on_its_way = asyncio.create_task(log.append(TOPIC, [Record(b"", b"first")], partition=0))
        await asyncio.wait([on_its_way], timeout=0.2)
        megabyte = Record(b"", bytes(1_000_000))
        given_up = [asyncio.create_task(log.append(TOPIC, [megabyte], partition=0)) for _ in range(75)]
        refused, waiting = await asyncio.wait(given_up, return_when=asyncio.FIRST_EXCEPTION, timeout=2)
        assert refused, "there was no room"
        for task in waiting:
            task.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
        kept = asyncio.create_task(log.append(TOPIC, [Record(b"", b"second")], partition=0))
        await asyncio.wait([kept], timeout=0.2)
        assert not kept.done()
    await asyncio.gather(on_its_way, kept)
    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        assert await read(subscription, 2) == [b"first", b"second"]


async def test_nothing_hangs_when_a_log_with_everything_on_its_way_is_closed_on_a_frozen_broker(
    broker: FragileKafka, log: EventLog
) -> None:
    await log.append(TOPIC, [Record(b"", b"before")])
    with broker.frozen():
        calls = [asyncio.create_task(log.append(TOPIC, [Record(f"{n}".encode(), b"value")])) for n in range(50)]
        calls += [asyncio.create_task(log.ends([TOPIC])) for _ in range(3)]  # type: ignore[arg-type]
        await asyncio.wait(calls, timeout=0.2)
        began = monotonic()
        await log.close()
        assert monotonic() - began < 2.5
        outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 6)
    assert all(isinstance(one, RetryLater) for one in outcomes)
