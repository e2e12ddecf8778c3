"""What the probes of a consuming process say while log, database and work misbehave, and what its lag shows."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from time import monotonic

import asyncpg
import psutil
import pytest

from deploy.local.kafka import EmbeddedKafka
from deploy.local.postgres import EmbeddedPostgres, start
from libs.common.clock import wall_now
from libs.common.consumer import Consumer, handles
from libs.common.db import AsyncConnection
from libs.common.errors import RetryLater
from libs.common.event_log import Batch, TopicPartition
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.log import KafkaEventLog
from libs.common.event_log_open import event_log
from libs.common.events import Event, TelemetryReceived
from libs.common.migrate import migrate
from libs.common.observability import REGISTRY
from libs.common.progress import Patience
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.conftest import LOGIN, OWNER
from tests.integration.common import tally as made_up
from tests.integration.common.conftest import World
from tests.integration.common.scripted_log import ScriptedLog
from tests.integration.common.tally import on_telemetry_received, publish, tally, telemetry
from tests.kafka_topics import make_topics

PLACE = TopicPartition(Topic.TELEMETRY, 4)
QUICK = Patience(
    look_seconds=0.02,
    look_again_seconds=0.02,
    log_silent_seconds=0.2,
    unpolled_seconds=0.2,
    no_progress_seconds=0.2,
)
GROWN_UP = Patience(**(vars(QUICK) | {"spared_seconds": 0.0}))


def metric(name: str, **labels: str) -> float:
    found = REGISTRY.get_sample_value(f"kizashi_consumer_{name}", {"group": "tally", **labels})
    assert found is not None
    return found


def lag() -> tuple[float, float]:
    """In records and in seconds."""
    return metric("lag_records", topic="telemetry"), metric("lag_seconds", topic="telemetry")


def says(probe: Callable[[], Awaitable[str | None]], words: str | None) -> Callable[[], Awaitable[bool]]:
    """Whether a probe's sentence has the words in it; None: it has nothing to say."""

    async def check() -> bool:
        sentence = await probe()
        return sentence is None if words is None else words in (sentence or "")

    return check


# --- a log that does not answer, or not all of it ---


async def test_a_frozen_broker_makes_unready_and_not_dead_and_is_forgiven(world: World) -> None:
    log = ScriptedLog([Batch(PLACE, 0, 0, [])])
    consumer = tally(log, world.worker, patience=GROWN_UP)
    async with world.running(consumer):
        await eventually(says(consumer.ready, None), what="ready")
        log.silent = True
        await eventually(says(consumer.ready, "the event log has not answered for"), what="unready")
        assert metric("last_poll_age_seconds") > 0.2
        assert await consumer.live() is None
        log.silent = False
        await eventually(says(consumer.ready, None), what="ready again")
        assert metric("last_poll_age_seconds") == 0


@pytest.mark.parametrize("patience", [GROWN_UP, QUICK], ids=["an old process", "a young process"])
async def test_a_log_that_says_there_is_more_and_hands_out_nothing(world: World, patience: Patience) -> None:
    """As a client does that has lost sight of a partition: a restart mends that, but once in ten minutes at most."""
    log = ScriptedLog([Batch(PLACE, 0, 0, [])])
    log.end[PLACE] = 5
    consumer = tally(log, world.worker, patience=patience)
    sentence = "records wait in telemetry/4, and the event log has handed out none for"
    async with world.running(consumer):
        if patience is GROWN_UP:
            await eventually(says(consumer.live, sentence), what="not live")
        else:
            await eventually(says(consumer.ready, sentence), what="unready")
            assert await consumer.live() is None


# --- work that does not come forward ---


class Obstacle:
    """While it is in the way, no batch is processed."""

    def __init__(self) -> None:
        self.there = True

    async def on_telemetry(self, connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
        if self.there:
            raise RetryLater("something is in the way")
        return await on_telemetry_received(connection, events)


async def test_lag_shows_and_grows_while_nothing_is_processed(world: World) -> None:
    obstacle = Obstacle()
    consumer = tally(
        world.log, world.worker, patience=QUICK, handlings=[handles(TelemetryReceived, obstacle.on_telemetry)]
    )
    async with world.running(consumer):
        await publish(world.log, [telemetry(n) for n in range(30)], 4)
        await publish(world.log, [telemetry(n) for n in range(100, 110)], 5)

        async def shows() -> bool:
            return lag()[0] == 40

        await eventually(shows, what="forty records wait")
        before = lag()[1]

        async def grows() -> bool:
            return lag()[1] > before + 0.2

        await eventually(grows, what="they have waited longer")
        await eventually(says(consumer.ready, "no position has moved"), what="unready")
        obstacle.there = False
        await world.until_caught_up()

        async def is_gone() -> bool:
            return lag() == (0, 0)

        await eventually(is_gone, what="nothing waits")
        await eventually(says(consumer.ready, None), what="ready")


async def test_lag_goes_on_growing_while_the_log_is_silent(world: World) -> None:
    log = ScriptedLog([Batch(PLACE, 0, 0, [])])
    log.end[PLACE] = 5
    log.since = wall_now() - timedelta(seconds=100)
    async with world.running(tally(log, world.worker, patience=QUICK)):

        async def shows() -> bool:
            return lag()[0] == 5 and lag()[1] >= 100

        await eventually(shows, what="five records wait")
        log.silent = True
        before = lag()[1]

        async def grows() -> bool:
            return lag()[0] == 5 and lag()[1] > before + 0.2

        await eventually(grows, what="they have waited longer")


async def test_a_consumer_that_no_handler_lets_come_forward_is_started_again(world: World) -> None:
    obstacle = Obstacle()
    consumer = tally(
        world.log, world.worker, patience=GROWN_UP, handlings=[handles(TelemetryReceived, obstacle.on_telemetry)]
    )
    await publish(world.log, [telemetry(1)], 4)
    async with world.running(consumer):
        await eventually(says(consumer.live, "records wait, and no position has moved for"), what="not live")


async def test_a_partition_that_the_breaker_stopped_is_no_reason_to_start_again(world: World) -> None:
    await publish(world.log, [telemetry(n, event="raise") for n in range(40)], 4)
    consumer = tally(world.log, world.worker, patience=GROWN_UP)
    async with world.running(consumer):
        await eventually(says(consumer.ready, "25 records in a row were refused"), what="the breaker opens")
        looks_at = monotonic() + 3 * QUICK.no_progress_seconds

        async def time_passes() -> bool:
            assert await consumer.live() is None
            return monotonic() > looks_at

        await eventually(time_passes)


# --- a server that is away ---


class Server:
    """A PostgreSQL of this test's own."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.running: EmbeddedPostgres = start(data)

    def start(self) -> None:
        self.running = start(self._data)

    def kill(self) -> None:
        processes = self._processes()
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=10)

    def freeze(self) -> None:
        for process in self._processes():
            process.suspend()

    def thaw(self) -> None:
        for process in self._processes():
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        """The postmaster first, so that it starts no others meanwhile."""
        postmaster = psutil.Process(self.running.pid)
        return [postmaster, *postmaster.children(recursive=True)]


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="kizashi-frozen-") as home:
        Path(home).chmod(0o755)
        made = Server(Path(home) / "postgres")
        yield made
        made.running.stop()


@pytest.fixture
async def consumer(server: Server) -> AsyncIterator[Consumer]:
    owner_url = server.running.url(OWNER, "postgres")
    await migrate(owner_url, LOGIN)
    owner = await asyncpg.connect(owner_url)
    await made_up.make_service(owner, "tally")
    await owner.close()
    url = server.running.url(LOGIN, "postgres")
    log = event_log(url, name="test")
    await log.open()
    database = made_up.worker(url, "tally")
    yield tally(log, database, timekeeping=True)
    await log.close()
    await database.close()


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_a_postgresql_that_is_away_makes_unready_within_seconds_and_ready_soon_after_it_is_back(
    server: Server, consumer: Consumer, how: str
) -> None:
    leave, come = (server.freeze, server.thaw) if how == "frozen" else (server.kill, server.start)
    await away_and_back(consumer, leave, come)


async def test_a_frozen_kafka_makes_unready_within_seconds_and_ready_soon_after_it_is_back(
    world: World, kafka: EmbeddedKafka
) -> None:
    access = KafkaAccess(locks_url=world.url, topic_prefix=await make_topics(kafka.url))
    log = KafkaEventLog(kafka.url, access, name="test")
    await log.open()
    await away_and_back(tally(log, world.worker, timekeeping=True), kafka.freeze, kafka.thaw)
    await log.close()


async def away_and_back(consumer: Consumer, leave: Callable[[], None], come: Callable[[], None]) -> None:
    stopping = asyncio.Event()
    running = asyncio.create_task(consumer.run(stopping))
    await eventually(says(consumer.ready, None), what="ready")

    async def unready() -> bool:
        assert await consumer.live() is None
        return await consumer.ready() is not None

    began = monotonic()
    leave()
    try:
        await eventually(unready, within_seconds=20, what="unready")
    finally:
        seconds_to_red = monotonic() - began
        come()
    began = monotonic()
    await eventually(says(consumer.ready, None), within_seconds=30, what="ready again")
    print(f"unready after {seconds_to_red:.1f} s, ready {monotonic() - began:.1f} s after it came back")
    assert await consumer.live() is None
    stopping.set()
    await running
