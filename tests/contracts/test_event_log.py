"""What every engine of the event log promises (see libs/common/event_log.py)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import chain
from time import monotonic
from typing import Any

import pytest

from libs.common.clock import wall_now
from libs.common.errors import InvalidEvent, PositionLost, RetryLater
from libs.common.event_log import MAX_RECORD_BYTES, Batch, EventLog, ReadRecord, Record, Subscription, TopicPartition
from libs.common.testing import eventually
from libs.common.topics import PARTITIONS, Topic, partition_of
from tests.contracts.log_engines import Engine, FragileEngine

OTHER = Topic.TELEMETRY_IMPORT
TOPIC = Topic.HEALTH
FIRST = TopicPartition(TOPIC, 0)
ALL = list(range(PARTITIONS))
DEADLINE_SECONDS = 6.0
"""Five of the engine's own, and one for a busy machine."""


def numbered(count: int, key: bytes = b"1:key") -> list[Record]:
    return [Record(key, str(number).encode()) for number in range(count)]


def values(records: Sequence[Record]) -> list[bytes]:
    return [record.value for record in records]


async def at_start(log: EventLog) -> Callable[[TopicPartition], Awaitable[int]]:
    """Reads everything there is."""
    starts = await log.starts(list(Topic))

    async def start_at(source: TopicPartition) -> int:
        return starts[source]

    return start_at


async def first_at(log: EventLog, position: int) -> Callable[[TopicPartition], Awaitable[int]]:
    """Reads partition 0 from there and nothing of the others."""
    ends = await log.ends(list(Topic))

    async def start_at(source: TopicPartition) -> int:
        return position if source == FIRST else ends[source]

    return start_at


@asynccontextmanager
async def reading(log: EventLog, *topics: Topic, group: str = "group") -> AsyncIterator[Subscription]:
    async with log.subscribe(group, topics or (TOPIC,), await at_start(log)) as subscription:
        yield subscription


async def some_batch(subscription: Subscription, max_records: int = 500) -> Batch:
    """The next batch; the first one may take as long as joining a group does."""
    batch = await subscription.next_batch(max_records, 10)
    assert batch is not None
    return batch


async def read(subscription: Subscription, count: int, max_records: int = 500) -> list[ReadRecord]:
    """The next ``count`` records, in the order in which they come."""
    found: list[ReadRecord] = []
    while len(found) < count:
        found += (await some_batch(subscription, max_records)).records
    assert len(found) == count
    return found


async def members(*subscriptions: Subscription) -> list[list[int]]:
    """What each member owns once each partition has one owner and shares are even, with all members reading."""
    reader = [asyncio.create_task(_read_on(one)) for one in subscriptions]

    async def shared() -> list[list[int]]:
        owned = [sorted(source.partition for source in one.owned) for one in subscriptions]
        sizes = [len(partitions) for partitions in owned]
        return owned if sorted(chain(*owned)) == ALL and max(sizes) - min(sizes) <= 1 else []

    try:
        return await eventually(shared, what="an even share")
    finally:
        for task in reader:
            task.cancel()
        await asyncio.gather(*reader, return_exceptions=True)


async def _read_on(subscription: Subscription) -> None:
    while True:
        await subscription.next_batch(100, 0.05)


class Process:
    """A log_member of its own, with what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.owned: list[int] = []
        self.durable = -1
        self.values: dict[int, list[str]] = {}
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said: dict[str, Any] = json.loads(line)
            self.owned = said.get("owned", self.owned)
            self.durable = said.get("durable", self.durable)
            if "partition" in said:
                self.values.setdefault(said["partition"], []).extend(said["values"])

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> None:
        """kill -9."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._listening


@asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[Process]:
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.contracts.log_member", *arguments, stdout=asyncio.subprocess.PIPE
    )
    member = Process(started)
    try:
        yield member
    finally:
        await member.end()


# --- append ---


async def test_topics_can_be_left_alone_for_a_while_or_read_a_little_at_a_time(engine: Engine) -> None:
    log = await engine.client()
    ends = await log.ends([TOPIC, OTHER])

    async def from_now(source: TopicPartition) -> int:
        return ends[source]

    await log.append(TOPIC, numbered(30), partition=0)
    await log.append(OTHER, numbered(30), partition=0)
    async with log.subscribe("group", [TOPIC, OTHER], from_now) as subscription:
        news = 0
        while news < 30:
            batch = await subscription.next_batch(10, 10, {OTHER: 0})
            assert batch is not None
            assert batch.source == FIRST
            news += len(batch.records)
        assert await subscription.next_batch(10, 0.3, {OTHER: 0}) is None
        little = await subscription.next_batch(10, 10, {OTHER: 3})
        assert little is not None
        assert (little.source.topic, len(little.records)) == (OTHER, 3)
        assert values(await read(subscription, 27)) == [one.value for one in numbered(30)[3:]]


async def test_what_append_returned_for_is_there_for_another_client(engine: Engine) -> None:
    writer, other = await engine.client(), await engine.client()
    before = await other.ends([TOPIC])
    await writer.append(TOPIC, numbered(3), partition=0)
    assert (await other.ends([TOPIC]))[FIRST] == before[FIRST] + 3
    async with reading(other) as subscription:
        assert values(await read(subscription, 3)) == [b"0", b"1", b"2"]


@pytest.mark.parametrize(
    "record",
    [
        Record(b"1:account", b""),
        Record(b"", b"no key"),
        Record(b"\x00\xff\xfe key", bytes(range(256))),
        Record(b"1:account", b"\x01" * 1_000_000),
        Record(b"1:account", b"value", {"trace": b"\x00\x01", "empty": b"", "兆し": b"sign"}),
    ],
    ids=["empty value", "empty key", "any bytes", "a million bytes", "headers"],
)
async def test_a_record_comes_back_as_it_was(engine: Engine, record: Record) -> None:
    log = await engine.client()
    await log.append(TOPIC, [record])
    async with reading(log) as subscription:
        (found,) = await read(subscription, 1)
    assert (found.key, found.value, dict(found.headers)) == (record.key, record.value, dict(record.headers))


async def test_a_record_that_is_too_large_is_refused_and_nothing_with_it(engine: Engine) -> None:
    log = await engine.client()
    before = await log.ends([TOPIC])
    with pytest.raises(InvalidEvent, match="at most"):
        await log.append(TOPIC, [Record(b"1:a", b"small"), Record(b"1:a", bytes(MAX_RECORD_BYTES))])
    assert await log.ends([TOPIC]) == before


async def test_nothing_is_appended_by_an_empty_call(engine: Engine) -> None:
    log = await engine.client()
    before = await log.ends([TOPIC])
    await log.append(TOPIC, [])
    assert await log.ends([TOPIC]) == before


async def test_a_key_has_one_partition_unless_the_caller_chooses(engine: Engine) -> None:
    log = await engine.client()
    before = await log.ends([TOPIC])
    keys = [f"1:account-{number}".encode() for number in range(50)]
    await log.append(TOPIC, [Record(key, b"") for key in keys])
    await log.append(TOPIC, [Record(key, b"") for key in keys[:5]], partition=7)
    expected = dict(before)
    for partition in [*(partition_of(key) for key in keys), *[7] * 5]:
        expected[TopicPartition(TOPIC, partition)] += 1
    assert await log.ends([TOPIC]) == expected


async def test_order_is_kept_per_key(engine: Engine) -> None:
    log = await engine.client()
    keys = [f"1:account-{number}".encode() for number in range(20)]
    for number in range(10):
        await log.append(TOPIC, [Record(key, str(number).encode()) for key in keys for _ in range(2)])
    async with reading(log) as subscription:
        found = await read(subscription, 400, max_records=7)
    for key in keys:
        assert values([one for one in found if one.key == key]) == [str(n).encode() for n in range(10) for _ in (1, 2)]


async def test_a_reader_at_the_end_skips_nothing_while_many_append(engine: Engine) -> None:
    """Positions become visible in their order, whoever commits first."""
    clients = [await engine.client() for _ in range(4)]
    reader = await engine.client()

    async def write(client: EventLog, name: int) -> None:
        for number in range(60):
            records = [Record(f"{name}".encode(), f"{number}-{place}".encode()) for place in range(3)]
            if number % 2:
                await client.append(TOPIC, records, partition=0)
            else:
                await client.append(TOPIC, [*records, *records], partition=0)

    writers = [asyncio.create_task(write(client, name)) for name, client in enumerate(clients) for _ in (1, 2)]
    count = 8 * 30 * (3 + 6)
    async with reading(reader) as subscription:
        found: list[ReadRecord] = []
        position = (await reader.starts([TOPIC]))[FIRST]
        while len(found) < count:
            batch = await some_batch(subscription, max_records=50)
            assert batch.start == position
            assert all(batch.start <= one.offset < batch.end for one in batch.records)
            position = batch.end
            found += batch.records
    await asyncio.gather(*writers)
    assert len(found) == count
    assert [one.offset for one in found] == sorted({one.offset for one in found})


async def test_what_a_killed_process_was_told_to_be_durable_is_there(engine: Engine) -> None:
    log = await engine.client()
    async with process("append", str(engine.address), TOPIC, "0") as writer:

        async def well_on_its_way() -> bool:
            return writer.durable >= 50

        await eventually(well_on_its_way)
        await writer.end()
        acknowledged = writer.durable
    async with reading(log) as subscription:
        found: list[bytes] = []
        while len(found) <= acknowledged:
            found += values((await some_batch(subscription)).records)
    assert found == [str(number).encode() for number in range(len(found))]


async def test_a_frozen_writer_delays_nobody(engine: Engine) -> None:
    log = await engine.client()
    async with process("append", str(engine.address), TOPIC, "0") as writer:
        for _ in range(5):
            seen = writer.durable

            async def goes_on(seen: int = seen) -> bool:
                return writer.durable > seen

            await eventually(goes_on)
            writer.signal(signal.SIGSTOP)
            began = monotonic()
            await log.append(TOPIC, numbered(1), partition=0)
            assert monotonic() - began < 1
            writer.signal(signal.SIGCONT)


# --- read ---


async def test_nothing_new_is_none_in_time(engine: Engine) -> None:
    log = await engine.client()
    async with reading(log) as subscription:
        await members(subscription)
        began = monotonic()
        assert await subscription.next_batch(500, 0.2) is None
        assert 0.19 < monotonic() - began < 1


async def test_batches_follow_one_another_and_end_where_the_log_ends(engine: Engine) -> None:
    log = await engine.client()
    position = (await log.starts([TOPIC]))[FIRST]
    await log.append(TOPIC, numbered(25), partition=0)
    sizes = []
    async with reading(log) as subscription:
        while position < (await log.ends([TOPIC]))[FIRST]:
            batch = await some_batch(subscription, max_records=10)
            assert batch.source == FIRST
            assert batch.start == position
            assert batch.start <= batch.records[0].offset <= batch.records[-1].offset < batch.end
            position = batch.end
            sizes.append(len(batch.records))
    assert max(sizes) <= 10
    assert sum(sizes) == 25


async def test_large_records_come_in_small_batches(engine: Engine) -> None:
    log = await engine.client()
    for _ in range(4):
        await log.append(TOPIC, [Record(b"1:key", b"\x01" * 1_000_000) for _ in range(4)], partition=0)
    async with reading(log) as subscription:
        sizes: list[int] = []
        while sum(sizes) < 16:
            sizes.append(len((await some_batch(subscription)).records))
    assert sum(sizes) == 16
    assert max(sizes) <= 8


async def test_reading_goes_on_from_the_position_that_the_caller_kept(engine: Engine) -> None:
    log = await engine.client()
    await log.append(TOPIC, numbered(10), partition=0)
    async with reading(log) as subscription:
        first = await some_batch(subscription, max_records=4)
        await subscription.commit(first.source, first.end + 3)  # the engine's own note is not what we go by
    ends = await log.ends([TOPIC])

    async def start_at(source: TopicPartition) -> int:
        return first.end if source == FIRST else ends[source]

    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        assert values(await read(subscription, 6)) == [b"4", b"5", b"6", b"7", b"8", b"9"]


async def test_groups_read_independently(engine: Engine) -> None:
    log = await engine.client()
    await log.append(TOPIC, numbered(5), partition=0)
    async with reading(log, group="one") as one, reading(log, group="two") as two:
        assert values(await read(one, 5)) == values(await read(two, 5)) == values(numbered(5))


async def test_rewind_gives_the_batch_again_after_a_pause_and_others_meanwhile(engine: Engine) -> None:
    log = await engine.client()
    await log.append(TOPIC, numbered(3), partition=0)
    async with reading(log) as subscription:
        batch = await some_batch(subscription)
        subscription.rewind(batch.source, batch.start, pause_seconds=0.5)
        rewound_at = monotonic()
        await log.append(TOPIC, [Record(b"", b"other")], partition=1)
        assert values((await some_batch(subscription)).records) == [b"other"]
        again = await some_batch(subscription)
        assert monotonic() - rewound_at >= 0.5
        assert (again.start, values(again.records)) == (batch.start, values(batch.records))


async def test_a_full_topic_does_not_starve_another(engine: Engine) -> None:
    log = await engine.client()
    backlog = 2000
    for partition in ALL:
        await log.append(Topic.TELEMETRY_IMPORT, numbered(backlog), partition)
    async with reading(log, Topic.TELEMETRY, Topic.TELEMETRY_IMPORT) as subscription:
        assert (await some_batch(subscription, max_records=10)).source.topic == Topic.TELEMETRY_IMPORT
        await log.append(Topic.TELEMETRY, numbered(1), partition=3)
        before_it = 0
        while (await some_batch(subscription, max_records=10)).source.topic != Topic.TELEMETRY:
            before_it += 10
            await log.starts([TOPIC])  # each batch is some work
        assert before_it < backlog * PARTITIONS / 2


async def test_partitions_of_a_topic_take_turns(engine: Engine) -> None:
    log = await engine.client()
    for partition in ALL:
        await log.append(TOPIC, numbered(30), partition)
    async with reading(log) as subscription:
        await members_of_one(subscription)
        served = [(await some_batch(subscription, max_records=10)).source.partition for _ in range(2 * PARTITIONS)]
    assert set(served) == set(ALL)


async def members_of_one(subscription: Subscription) -> None:
    """The only member owns everything and has consumed nothing."""

    async def complete() -> bool:
        await subscription.next_batch(1, 0)
        return len(subscription.owned) == PARTITIONS

    await eventually(complete)


# --- loss and holes ---


async def test_a_hole_is_no_loss(engine: Engine) -> None:
    log = await engine.client()
    await engine.append_around_hole(FIRST, Record(b"", b"before"), Record(b"", b"after"))
    async with reading(log) as subscription:
        before, after = await read(subscription, 2)
    assert (before.value, after.value) == (b"before", b"after")
    assert after.offset > before.offset + 1


async def test_a_position_inside_or_after_a_hole_reads_on(engine: Engine) -> None:
    log = await engine.client()
    start = (await log.ends([TOPIC]))[FIRST]
    await engine.append_around_hole(FIRST, Record(b"", b"before"), Record(b"", b"after"))
    ends = await log.ends([TOPIC])

    async def in_the_hole(source: TopicPartition) -> int:
        return start + 1 if source == FIRST else ends[source]

    async with log.subscribe("group", [TOPIC], in_the_hole) as subscription:
        assert values(await read(subscription, 1)) == [b"after"]
        assert await subscription.next_batch(500, 0.1) is None


async def test_what_retention_dropped_is_loss_for_who_had_not_read_it(engine: Engine) -> None:
    log = await engine.client()
    start = (await log.starts([TOPIC]))[FIRST]
    await log.append(TOPIC, numbered(5), partition=0)
    await engine.expire(FIRST)
    await log.append(TOPIC, [Record(b"", b"later")], partition=0)

    kept = await log.starts([TOPIC])
    assert kept[FIRST] == start + 5
    async with reading(log) as subscription:
        assert values(await read(subscription, 1)) == [b"later"]
    async with log.subscribe("late", [TOPIC], await first_at(log, start)) as subscription:
        with pytest.raises(PositionLost) as lost:
            await some_batch(subscription)
    for named in ("health/0", str(start), str(start + 5), str(start + 6)):
        assert named in str(lost.value)


async def test_what_retention_drops_under_a_reader_is_loss_and_no_hole(engine: Engine) -> None:
    log = await engine.client()
    position = (await log.starts([TOPIC]))[FIRST]
    for _ in range(8):
        await log.append(TOPIC, [Record(b"", os.urandom(1_000_000))], partition=0)
    async with reading(log) as subscription:

        async def read_one() -> None:
            nonlocal position
            batch = await some_batch(subscription, max_records=1)
            assert (batch.start, len(batch.records)) == (position, 1)
            position = batch.end

        async def read_on() -> None:
            for _ in range(6):  # it may have fetched some already
                await read_one()

        await read_one()
        await engine.expire(FIRST)
        with pytest.raises(PositionLost, match="health/0"):
            await read_on()


async def test_a_position_that_the_log_never_reached_is_loss(engine: Engine) -> None:
    log = await engine.client()
    end = (await log.ends([TOPIC]))[FIRST]
    async with log.subscribe("group", [TOPIC], await first_at(log, end + 1000)) as subscription:
        with pytest.raises(PositionLost, match=str(end + 1000)):
            await some_batch(subscription)


async def test_a_partition_whose_position_is_lost_is_held_until_it_is_rewound_and_delays_no_other(
    engine: Engine,
) -> None:
    log = await engine.client()
    starts = await log.starts([TOPIC])
    end = (await log.ends([TOPIC]))[FIRST]

    async def start_at(source: TopicPartition) -> int:
        return end + 1000 if source == FIRST else starts[source]

    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        with pytest.raises(PositionLost) as lost:
            await some_batch(subscription)
        assert lost.value.source == FIRST
        await log.append(TOPIC, [Record(b"", b"lost sight of")], partition=0)
        await log.append(TOPIC, [Record(b"", b"other")], partition=1)
        assert values(await read(subscription, 1)) == [b"other"]
        assert await subscription.next_batch(500, 0.2) is None
        subscription.rewind(FIRST, end, pause_seconds=0)
        assert values(await read(subscription, 1)) == [b"lost sight of"]


async def test_it_tells_when_the_first_record_from_a_position_on_was_appended(engine: Engine) -> None:
    log = await engine.client()
    end = (await log.ends([TOPIC]))[FIRST]
    before = wall_now()
    await log.append(TOPIC, numbered(1), partition=0)
    between = wall_now()
    await log.append(TOPIC, numbered(1), partition=0)
    asked = {TopicPartition(TOPIC, partition): end + 1 if partition == 0 else 0 for partition in (0, 1)}
    found = await log.appended_at({**asked, TopicPartition(Topic.TOUCHES, 3): 0})
    assert set(found) == {FIRST}
    fine = timedelta(milliseconds=2)  # as fine as the log's own clock tells
    assert between - fine <= found[FIRST] <= wall_now() + fine
    assert before - fine <= (await log.appended_at({FIRST: end}))[FIRST] <= between + fine
    assert await log.appended_at({FIRST: end + 2}) == {}


# --- groups ---


async def test_members_share_the_partitions_as_they_come_and_go(engine: Engine) -> None:
    clients = [await engine.client() for _ in range(3)]
    async with reading(clients[0]) as one:
        assert await members(one) == [ALL]
        async with reading(clients[1]) as two:
            assert [len(owned) for owned in await members(one, two)] == [6, 6]
            async with reading(clients[2]) as three:
                assert [len(owned) for owned in await members(one, two, three)] == [4, 4, 4]
        assert await members(one) == [ALL]


async def test_every_topic_is_shared(engine: Engine) -> None:
    topics = (Topic.TELEMETRY, Topic.TELEMETRY_IMPORT)
    clients = [await engine.client() for _ in range(2)]
    async with reading(clients[0], *topics) as one, reading(clients[1], *topics) as two:

        async def even() -> bool:
            await asyncio.gather(one.next_batch(1, 0.05), two.next_batch(1, 0.05))
            owned = [source.topic for source in one.owned]
            return len(one.owned) == len(two.owned) == PARTITIONS and owned.count(topics[0]) == PARTITIONS // 2

        await eventually(even)
        assert not one.owned & two.owned


async def test_a_batch_in_hand_is_finished_before_its_partition_changes_hands(engine: Engine) -> None:
    clients = [await engine.client() for _ in range(2)]
    for partition in ALL:
        await clients[0].append(TOPIC, numbered(2), partition)
    async with reading(clients[0]) as old:
        await members_of_one(old)
        in_hand = await some_batch(old)
        async with reading(clients[1]) as new:

            async def new_reads(until: float) -> None:
                while monotonic() < until:
                    await new.next_batch(100, 0.05)

            await new_reads(monotonic() + 1)
            assert in_hand.source not in new.owned
            assert not old.owned & new.owned
            assert [len(owned) for owned in await members(old, new)] == [6, 6]


async def test_a_dropped_partition_is_taken_again_and_its_position_asked_again(engine: Engine) -> None:
    log = await engine.client()
    await log.append(TOPIC, numbered(4), partition=0)
    starts = await log.starts([TOPIC])
    kept = dict(starts)

    async def start_at(source: TopicPartition) -> int:
        return kept[source]

    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        batch = await some_batch(subscription, max_records=1)
        kept[batch.source] = batch.start + 3  # somebody else was there
        await subscription.drop(batch.source)
        assert batch.source not in subscription.owned
        assert values(await read(subscription, 1)) == [b"3"]


async def test_a_killed_members_partitions_move_on_at_once(engine: Engine) -> None:
    log = await engine.client()
    async with reading(log) as survivor, process("read", str(engine.address), "group", TOPIC) as victim:
        await shared_with(survivor, victim)
        await victim.end()
        began = monotonic()
        assert await members(survivor) == [ALL]
        print(f"taken over after {monotonic() - began:.2f} s")


async def test_a_frozen_members_partitions_move_on_and_it_joins_again(engine: Engine) -> None:
    log = await engine.client()
    async with reading(log) as survivor, process("read", str(engine.address), "group", TOPIC) as victim:
        await shared_with(survivor, victim)
        victim.signal(signal.SIGSTOP)
        began = monotonic()
        assert await members(survivor) == [ALL]
        seconds = monotonic() - began
        print(f"taken over after {seconds:.2f} s")
        assert seconds < 8
        await log.append(TOPIC, [Record(b"", b"meanwhile")], partition=victim.owned[0])
        assert values(await read(survivor, 1)) == [b"meanwhile"]
        victim.signal(signal.SIGCONT)
        await shared_with(survivor, victim)


async def shared_with(subscription: Subscription, other: Process) -> None:
    """Wait until a member here and one in another process own half of the partitions each."""

    async def half_each() -> bool:
        await subscription.next_batch(100, 0.05)
        owned = {source.partition for source in subscription.owned}
        return len(owned) == PARTITIONS // 2 and owned.isdisjoint(other.owned) and len(other.owned) == len(owned)

    await eventually(half_each, within_seconds=20, what="half each")


# --- identity ---


async def test_the_log_has_one_identity(engine: Engine) -> None:
    one, two = await engine.client(), await engine.client()
    assert await one.identity(TOPIC) == await two.identity(TOPIC) != ""


# --- a dead engine ---


async def seconds_to_error(call: Awaitable[object]) -> float:
    began = monotonic()
    with pytest.raises(RetryLater):
        await call
    return monotonic() - began


async def test_a_frozen_engine_is_an_error_within_the_deadline_and_no_hang(fragile_engine: FragileEngine) -> None:
    log, other = await fragile_engine.client(), await fragile_engine.client()
    newcomer = fragile_engine.address.log("newcomer")
    await log.append(TOPIC, numbered(1), partition=0)

    async def leave_a_subscription_that_fails() -> None:
        async with reading(other) as subscription:
            await some_batch(subscription)
            await asyncio.to_thread(fragile_engine.freeze)
            frozen.set()
            await _read_on(subscription)

    frozen = asyncio.Event()
    subscribed = asyncio.create_task(seconds_to_error(leave_a_subscription_that_fails()))
    await frozen.wait()
    try:
        seconds = await asyncio.gather(
            subscribed,
            *(seconds_to_error(log.append(TOPIC, numbered(3))) for _ in range(5)),
            seconds_to_error(log.ends([TOPIC])),
            seconds_to_error(log.starts([TOPIC])),
            seconds_to_error(newcomer.open()),
            seconds_to_error(join(other)),
        )
        assert max(seconds) < 2 * DEADLINE_SECONDS, seconds  # joining and leaving a group is more than one call
        began = monotonic()
        await newcomer.close()
        await other.close()
        assert monotonic() - began < 2
    finally:
        fragile_engine.thaw()

    async def works_again() -> bool:
        try:
            await log.append(TOPIC, [Record(b"", b"last")], partition=0)
        except RetryLater:
            return False
        return True

    await eventually(works_again, within_seconds=15)
    async with reading(log) as subscription:
        while values((await some_batch(subscription)).records)[-1] != b"last":
            pass


async def join(log: EventLog) -> None:
    async def from_the_beginning(_: TopicPartition) -> int:
        return 0

    async with log.subscribe("group", [TOPIC], from_the_beginning) as subscription:
        await subscription.next_batch(1, 0)


async def test_a_client_survives_a_restart_of_the_engine_and_so_does_the_data(fragile_engine: FragileEngine) -> None:
    log = await fragile_engine.client()
    await log.append(TOPIC, numbered(3), partition=0)
    identity = await log.identity(TOPIC)
    async with reading(log) as subscription:
        assert values(await read(subscription, 3)) == [b"0", b"1", b"2"]
        fragile_engine.stop()
        calls = {
            "append": log.append(TOPIC, numbered(1), partition=0),
            "ends": log.ends([TOPIC]),
            "read": _read_on(subscription),
            "open": fragile_engine.address.log("newcomer").open(),
        }
        seconds = {name: await seconds_to_error(call) for name, call in calls.items()}
        assert max(seconds.values()) < 2 * DEADLINE_SECONDS, seconds
    fragile_engine.start()

    async def works_again() -> bool:
        try:
            await log.append(TOPIC, [Record(b"", b"after")], partition=0)
        except RetryLater:
            return False
        return True

    await eventually(works_again, within_seconds=15)
    assert await (await fragile_engine.client()).identity(TOPIC) == identity
    async with reading(log) as subscription:
        found = values(await read(subscription, 4))
    assert found == [b"0", b"1", b"2", b"after"]


async def test_a_closed_log_says_so(engine: Engine) -> None:
    log = await engine.client()
    await log.close()
    for call in (log.append(TOPIC, numbered(1)), log.ends([TOPIC])):
        with pytest.raises(RetryLater, match="event log is"):
            await call
