"""The outbox keeps the order of each key, loses nothing, and lets no partition stop the others."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from time import monotonic

import asyncpg
import pytest

from libs.common import outbox
from libs.common.db import Database, text
from libs.common.errors import InvalidEvent, RetryLater
from libs.common.event_log import TopicPartition
from libs.common.events import TouchCancelled
from libs.common.outbox import OutboxRow, Relay
from libs.common.testing import eventually
from libs.common.topics import PARTITIONS, Topic, partition_of
from tests.integration.common.conftest import World
from tests.integration.common.scripted_log import ScriptedLog
from tests.integration.common.tally import worker


def said(account: str, n: int, reason: str = "said") -> TouchCancelled:
    return TouchCancelled(workspace=1, id=f"{account}-{n}", account_id=account, touch_id=str(n), reason=reason)


def relay(world: World, log: ScriptedLog) -> Relay:
    return Relay("tally", world.worker, log, world.url)


async def add(world: World, *events: TouchCancelled) -> None:
    async with world.worker.transaction() as connection:
        await outbox.add(connection, events)


async def left(world: World) -> int:
    count: int = await world.ask("SELECT count(*) FROM tally.outbox")
    return count


async def is_empty(world: World) -> bool:
    return await left(world) == 0


@pytest.fixture
async def patient(world: World) -> AsyncIterator[Database]:
    database = worker(world.url, "tally", idle_seconds=30, lock_seconds=30)
    yield database
    await database.close()


async def test_events_come_out_in_the_order_of_each_key(world: World) -> None:
    log = ScriptedLog()
    accounts = [f"account-{n}" for n in range(20)]
    for n in range(10):
        await add(world, *(said(account, n) for account in accounts))
    while await relay(world, log).publish_once():
        pass
    for account in accounts:
        key = said(account, 0).key
        place = TopicPartition(Topic.TOUCHES, partition_of(key))
        values = [record.value for record in log.appended[place] if record.key == key]
        assert [f'"touch_id":"{n}"'.encode() in value for n, value in enumerate(values)] == [True] * 10
    assert await is_empty(world)


async def test_who_has_a_key_first_is_published_first_however_late_it_commits(world: World, patient: Database) -> None:
    """The second writer of a key waits for the first one's commit; a writer of another key does not."""
    log = ScriptedLog()
    publisher = relay(world, log)
    async with patient.transaction() as slow:
        await outbox.add(slow, [said("a", 1)])
        second = asyncio.create_task(add(world, said("a", 2)))
        await eventually(lambda: somebody_waits(world), what="the second writer waits")
        await add(world, said("b", 1))
        assert await publisher.publish_once() == 1
    await second
    while await publisher.publish_once():
        pass
    told = [record.value for records in log.appended.values() for record in records if record.key == b"1:a"]
    assert [b'"touch_id":"1"' in value for value in told] == [True, False]
    assert len(told) == 2


async def test_without_the_locks_the_same_story_goes_wrong(world: World, patient: Database) -> None:
    """The negative control: ids are drawn in one order and become visible in the other."""
    log = ScriptedLog()
    row = "INSERT INTO outbox (topic, partition, key, value) VALUES ('touches', 0, 'k', CAST(:n AS bytea))"
    async with patient.transaction() as slow:
        await slow.execute(text(row), {"n": b"1"})
        async with world.worker.transaction() as quick:
            await quick.execute(text(row), {"n": b"2"})
        await relay(world, log).publish_once()
    await relay(world, log).publish_once()
    assert [record.value for record in log.appended[TopicPartition(Topic.TOUCHES, 0)]] == [b"2", b"1"]


async def somebody_waits(world: World) -> bool:
    return bool(await world.ask("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"))


async def test_many_writers_of_the_same_keys_do_not_deadlock(world: World) -> None:
    """Each writes some of the keys, in an order of its own."""
    dice = random.Random(7)
    accounts = [f"account-{n}" for n in range(200)]
    batches = [dice.sample(accounts, k=dice.randint(5, 200)) for _ in range(60)]
    await asyncio.gather(*(add(world, *(said(account, n) for account in batch)) for n, batch in enumerate(batches)))
    assert await left(world) == sum(map(len, batches))


async def test_ten_thousand_keys_in_one_transaction_do_not_exhaust_the_lock_table(world: World) -> None:
    await add(world, *(said(f"account-{n}", 1) for n in range(10_000)))
    assert await left(world) == 10_000


async def test_an_event_too_large_for_the_log_is_refused_before_it_is_stored(world: World) -> None:
    with pytest.raises(InvalidEvent) as refused:
        await add(world, said("a", 1), said("a", 2, reason="x" * 900_000))
    assert refused.value.reason == "too_large"
    assert await is_empty(world)


async def test_headers_are_bytes_and_come_back_as_they_were(world: World) -> None:
    log = ScriptedLog()
    headers = {"a": b"\x00\xff", "nul\0": b""}
    async with world.worker.transaction() as connection:
        await outbox.add_rows(connection, [OutboxRow(Topic.TOUCHES, 3, b"k", b"v", headers)])
    await relay(world, log).publish_once()
    [record] = log.appended[TopicPartition(Topic.TOUCHES, 3)]
    assert (record.key, record.value, record.headers) == (b"k", b"v", headers)


# --- the relay ---


def account_of(partition: int) -> str:
    return next(f"x{n}" for n in range(1000) if partition_of(f"1:x{n}".encode()) == partition)


async def test_a_partition_that_takes_nothing_fills_no_window_and_keeps_its_rows(world: World) -> None:
    broken, fine = TopicPartition(Topic.TOUCHES, 0), TopicPartition(Topic.TOUCHES, 1)
    log = ScriptedLog()
    log.broken.add(broken)
    await add(world, *(said(account_of(0), n) for n in range(2 * outbox.WINDOW_RECORDS)))
    await add(world, *(said(account_of(1), n) for n in range(10)))
    publisher = relay(world, log)
    assert await publisher.publish_once() == 0
    assert await publisher.publish_once() == 10
    assert len(log.appended[fine]) == 10
    assert await left(world) == 2 * outbox.WINDOW_RECORDS

    log.broken.clear()
    async with world.running(publisher):
        await eventually(lambda: is_empty(world), what="the partition is back")
    values = [record.value for record in log.appended[broken]]
    assert [f'"touch_id":"{n}"'.encode() in value for n, value in enumerate(values)] == [True] * len(values)


async def test_a_partition_that_never_answers_stops_no_other(world: World) -> None:
    log = ScriptedLog()
    log.stuck.add(TopicPartition(Topic.TOUCHES, 0))
    await add(world, said(account_of(0), 1), *(said(account_of(n), 1) for n in range(1, PARTITIONS)))
    publisher = relay(world, log)
    async with world.running(publisher):

        async def only_one_is_left() -> bool:
            return await left(world) == 1

        await eventually(only_one_is_left, what="the others are published")
        started = monotonic()
        for n in range(2, 12):
            await add(world, said(account_of(1), n))
            await eventually(only_one_is_left, what="the others go on")
        assert monotonic() - started < 5
    assert len(log.appended[TopicPartition(Topic.TOUCHES, 1)]) == 11
    assert TopicPartition(Topic.TOUCHES, 0) not in log.appended


async def test_a_log_that_takes_nothing_makes_unready_until_it_does(world: World) -> None:
    log = ScriptedLog()
    broken = TopicPartition(Topic.TOUCHES, 0)
    log.broken.add(broken)
    publisher = Relay("tally", world.worker, log, world.url, unready_seconds=0.1)
    await add(world, said(account_of(0), 1), said(account_of(1), 1))

    async def ready() -> bool:
        return await publisher.ready() is None

    async def unready() -> bool:
        return "the event log has taken nothing for touches/0 for" in (await publisher.ready() or "")

    async with world.running(publisher):
        await eventually(unready, what="unready")
        log.broken.clear()
        await eventually(ready, what="ready again")
        assert await is_empty(world)


async def test_who_does_not_publish_has_nothing_to_say(world: World) -> None:
    log = ScriptedLog()
    log.broken.add(TopicPartition(Topic.TOUCHES, 0))
    leader, other = (Relay("tally", world.worker, log, world.url, unready_seconds=0.1) for _ in range(2))
    await add(world, said(account_of(0), 1))

    async def the_leader_is_unready() -> bool:
        return await leader.ready() is not None

    async with world.running(leader):
        await eventually(the_leader_is_unready, what="the leader is unready")
        async with world.running(other):
            assert await other.ready() is None
    assert await leader.ready() is None


async def test_a_window_is_bounded_in_bytes(world: World) -> None:
    log = ScriptedLog()
    await add(world, *(said(f"account-{n}", 1, reason="x" * 800_000) for n in range(12)))
    publisher = relay(world, log)
    rounds = []
    while published := await publisher.publish_once():
        rounds.append(published)
    assert rounds == [5, 5, 2]


async def test_one_process_leads_and_another_takes_over(world: World) -> None:
    first_log, second_log = ScriptedLog(), ScriptedLog()
    stopping = asyncio.Event()
    first = asyncio.create_task(relay(world, first_log).run(stopping))
    await add(world, said("a", 1))
    await eventually(lambda: is_empty(world), what="the first one leads")
    async with world.running(relay(world, second_log)):
        await add(world, said("a", 2))
        await eventually(lambda: is_empty(world), what="the first one goes on")
        assert not second_log.appended
        stopping.set()
        await first
        await add(world, said("a", 3))
        await eventually(lambda: is_empty(world), what="the second one has taken over")
    assert sum(map(len, first_log.appended.values())) == 2
    assert sum(map(len, second_log.appended.values())) == 1


async def test_a_relay_that_loses_its_sessions_goes_on(world: World) -> None:
    log = ScriptedLog()
    async with world.running(relay(world, log)):
        for n in range(5):
            await until_added(world, said("a", n))
            await eventually(lambda: is_empty(world), what=f"event {n} is published")
            await kill_sessions_of_the_relay(world.owner)
    numbers = [record.value.split(b'"touch_id":"')[1][:1] for record in log.appended[next(iter(log.appended))]]
    assert list(dict.fromkeys(numbers)) == [b"0", b"1", b"2", b"3", b"4"]


async def until_added(world: World, event: TouchCancelled) -> None:
    """By a pool of which sessions were killed too."""

    async def added() -> bool:
        try:
            await add(world, event)
        except RetryLater:
            return False
        return True

    await eventually(added, what="the event is in the outbox")


async def kill_sessions_of_the_relay(owner: asyncpg.Connection) -> None:
    await owner.fetch(
        "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE application_name LIKE 'kizashi_tally%'"
    )
