"""An installation is moved to another event log with records and outbox rows on their way: everything counts once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess

import asyncpg
import pytest
import structlog
from click.testing import CliRunner

from cli.__main__ import main
from deploy.local.kafka import EmbeddedKafka
from deploy.local.postgres import EmbeddedPostgres
from libs.common import failpoints
from libs.common.db import Database
from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import EventLog, ReadRecord, Record, TopicPartition
from libs.common.event_log_open import event_log
from libs.common.event_log_postgres.session import ROLE
from libs.common.events import encode
from libs.common.log_move.kafka import KafkaLog
from libs.common.log_move.logs import NAME, MovableLog
from libs.common.log_move.move import Destination, LogMove
from libs.common.log_move.open import destination, origin
from libs.common.log_move.postgres import PostgresLog
from libs.common.outbox import Relay
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.conftest import LOGIN, OWNER, TestDatabase
from tests.contracts.conftest import fragile_kafka
from tests.contracts.log_address import LogAddress
from tests.contracts.log_engines import FragileKafkaEngine, KafkaEngine
from tests.fragile_kafka import FragileKafka
from tests.integration.common.conftest import World, world
from tests.integration.common.member import Member, alive, ended, frozen, processes, thaw
from tests.integration.common.tally import echo, publish, tally, telemetry, worker

__all__ = ["fragile_kafka", "world"]

READERS = {Topic.TELEMETRY: "tally", Topic.TOUCHES: "echo"}
EVENTS = 600
TOPICS = list(Topic)
APPEND_ONE = (
    "SELECT log.append(ARRAY[$1::smallint], ARRAY[1], ARRAY[$1::smallint], ARRAY[0], ARRAY[$2::bytea], "
    "ARRAY[$3::bytea], ARRAY[NULL::bytea])"
)


TO_KAFKA = pytest.mark.parametrize("new_log", ["kafka"], indirect=True)


@pytest.fixture(params=["postgres", "kafka"])
def new_log(request: pytest.FixtureRequest) -> LogAddress:
    """Where an installation may move to."""
    made: LogAddress = request.getfixturevalue(f"new_log_on_{request.param}")
    return made


@pytest.fixture
async def new_log_on_postgres(postgres: EmbeddedPostgres) -> AsyncIterator[LogAddress]:
    """In a database of its own."""
    name = f"test_log_{uuid.uuid4().hex[:12]}"
    owner = await asyncpg.connect(postgres.url(OWNER, "postgres"))
    await owner.execute(f"CREATE DATABASE {name} TEMPLATE template_kizashi STRATEGY file_copy")
    inside = await asyncpg.connect(postgres.url(OWNER, name))
    await inside.execute("UPDATE log.identity SET id = gen_random_uuid()")  # else it is that of the template
    await inside.close()
    yield LogAddress(postgres.url(LOGIN, name))
    await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await owner.close()


@pytest.fixture
async def new_log_on_kafka(
    kafka: EmbeddedKafka, kafka_topics: str, database: TestDatabase
) -> AsyncIterator[LogAddress]:
    engine = await KafkaEngine.make(kafka, kafka_topics, database.url)
    yield engine.address
    await engine.close()


@dataclass(frozen=True)
class Mover:
    """One run of the command: from PostgreSQL to the new log, or ``back``."""

    owner_url: str
    new: LogAddress
    failpoints: str = ""
    give_up: bool = False
    back: bool = False

    async def run(self, *, dry: bool = False) -> Sequence[str]:
        """What it says."""
        said: list[str] = []
        home = PostgresLog(self.owner_url)
        new = KafkaLog(self.new.url, self.new.kafka) if self.new.topic_prefix else PostgresLog(self.new.url, ROLE)
        old: MovableLog = new if self.back else home
        move = LogMove(self.owner_url, old, readers=READERS, tell=said.append)
        if self.give_up:
            await move.give_up()
        elif self.back:
            await move.run(Destination(event_log(self.owner_url, name=NAME), home), dry=dry)
        else:
            await move.run(Destination(self.new.log(NAME), new), dry=dry)
        return said


def _run(mover: Mover) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    failpoints.arm(mover.failpoints, "test")
    asyncio.run(mover.run())


@contextlib.asynccontextmanager
async def moving(mover: Mover) -> AsyncIterator[BaseProcess]:
    process = processes.Process(target=_run, args=(mover,))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        await ended(process)
        process.close()


@dataclass
class Installation:
    """The two services that count, on the old log or on the new one."""

    world: World
    new: LogAddress
    published: int = 0
    echo_worker: Database = field(init=False)

    def __post_init__(self) -> None:
        self.echo_worker = worker(self.world.url, "echo")

    def mover(self, at: str = "", *, give_up: bool = False, back: bool = False) -> Mover:
        return Mover(self.world.owner_url, self.new, at, give_up, back)

    async def publish(self, count: int) -> None:
        first = self.published
        self.published += count
        await publish(self.world.log, [telemetry(n) for n in range(first, first + count)])

    async def publish_on_old(self, frozen_events: int) -> None:
        """Events that freeze a member that is told to freeze."""
        log = event_log(self.world.url, name="test")
        await log.open()
        first = self.published
        self.published += frozen_events
        await publish(log, [telemetry(n, event="freeze") for n in range(first, first + frozen_events)])
        await log.close()

    async def effects(self, service: str, count: int) -> None:
        async def enough() -> bool:
            return bool(await self.world.ask(f"SELECT count(*) >= $1 FROM {service}.effect", count))

        await eventually(enough, within_seconds=20, what=f"{count} effects of {service}")

    async def get_halfway(self) -> None:
        """Some events are through, some wait in each topic, some in the outbox; then everything stops."""
        world = self.world
        relay = Relay("tally", world.worker, world.log, world.url)
        part = EVENTS // 6
        await self.publish(part)
        async with world.running(
            tally(world.log, world.worker, batch_size=10), relay, echo(world.log, self.echo_worker)
        ):
            await self.effects("echo", part // 2)

        await self.publish(part)
        async with world.running(tally(world.log, world.worker, batch_size=10), relay):

            async def some_wait_for_echo() -> bool:
                return await self.waiting(Topic.TOUCHES) > 0

            await eventually(some_wait_for_echo, within_seconds=20)

        await self.publish(part)
        async with world.running(tally(world.log, world.worker, batch_size=10)):

            async def some_wait_in_the_outbox() -> bool:
                return bool(await world.ask("SELECT count(*) > 0 FROM tally.outbox"))

            await eventually(some_wait_in_the_outbox, within_seconds=20)

        await self.publish(EVENTS // 2)
        await world.log.append(Topic.TELEMETRY_DLQ, [Record(b"1:x", b"rejected", {"reason": b"no"})], 3)
        assert await self.waiting(Topic.TELEMETRY) > 0
        assert await self.waiting(Topic.TOUCHES) > 0
        await self.stop()

    async def stop(self) -> None:
        await self.world.log.close()
        await self.world.worker.close()
        await self.echo_worker.close()

    async def waiting(self, topic: Topic) -> int:
        """Records of the old log that the topic's reader has not read."""
        service = READERS[topic]
        count: int = await self.world.ask(
            f"SELECT sum(l.next - coalesce(p.next, 0))::bigint FROM log.topic_partition l "
            f"LEFT JOIN {service}.consumer_position p USING (topic, partition) WHERE topic = $1",
            topic.value,
        )
        return count

    # --- on the new log ---

    async def go_on(self) -> None:
        """Start the services on the new log and wait until everything is through."""
        world = self.world
        log = self.new.log("test")
        await log.open()
        try:
            async with world.running(
                tally(log, world.worker), echo(log, self.echo_worker), Relay("tally", world.worker, log, world.url)
            ):
                await publish(log, [telemetry(n) for n in range(self.published, self.published + 50)])
                self.published += 50
                await eventually(lambda: self._through(log), within_seconds=30, what="everything is through")
        finally:
            await log.close()
            await self.stop()

    async def _through(self, log: EventLog) -> bool:
        """Asked in the order in which records travel."""
        return (
            await self._has_read(log, Topic.TELEMETRY)
            and bool(await self.world.ask("SELECT count(*) = 0 FROM tally.outbox"))
            and await self._has_read(log, Topic.TOUCHES)
        )

    async def _has_read(self, log: EventLog, topic: Topic) -> bool:
        rows = await self.world.owner.fetch(
            f"SELECT partition, next FROM {READERS[topic]}.consumer_position WHERE topic = $1", topic.value
        )
        at = {TopicPartition(topic, row["partition"]): row["next"] for row in rows}
        return at == await log.ends([topic])

    async def assert_once(self) -> None:
        once = {f"message-{n}": 1 for n in range(self.published)}
        assert await self.world.times("tally") == once
        assert await self.world.times("echo") == once
        assert await self.world.letters() == []

    async def held(self, topic: Topic) -> dict[TopicPartition, list[tuple[bytes, bytes, dict[str, bytes]]]]:
        """All records of the new log's topic."""
        log = self.new.log("test")
        await log.open()
        starts, ends = await log.starts([topic]), await log.ends([topic])
        found: dict[TopicPartition, list[ReadRecord]] = {source: [] for source in ends}
        positions = dict(starts)

        async def begin(source: TopicPartition) -> int:
            return starts[source]

        async with log.subscribe("looking", [topic], begin) as subscription:
            while any(positions[source] < end for source, end in ends.items()):
                batch = await subscription.next_batch(1000, 1)
                if batch is not None:
                    found[batch.source] += batch.records
                    positions[batch.source] = batch.end
        await log.close()
        return {source: [(r.key, r.value, dict(r.headers)) for r in records] for source, records in found.items()}

    async def old(self, topic: Topic) -> dict[TopicPartition, list[tuple[bytes, bytes, dict[str, bytes]]]]:
        """What the old log holds from its readers' positions on, as they are now."""
        origin = PostgresLog(self.world.owner_url)
        await origin.open()
        found = {}
        for source, end in (await origin.ends()).items():
            if source.topic != topic:
                continue
            first = 0
            if topic in READERS:
                first = await self.world.ask(
                    f"SELECT next FROM {READERS[topic]}.consumer_position WHERE topic = $1 AND partition = $2", *source
                )
            records = await origin.read(source, first or 0, end)
            found[source] = [(r.key, r.value, dict(r.headers)) for r in records]
        await origin.close()
        return found


@pytest.fixture
async def installation(world: World, new_log: LogAddress) -> AsyncIterator[Installation]:
    made = Installation(world, new_log)
    await made.get_halfway()
    yield made
    await made.stop()


# --- the way ---


async def test_what_was_on_its_way_goes_on_in_the_new_log_and_counts_once(installation: Installation) -> None:
    lag = {topic: await installation.old(topic) for topic in TOPICS}
    caught_up = await installation.world.owner.fetch(
        "UPDATE tally.consumer_position SET caught_up_to = now(), refused_in_a_row = 7 "
        "RETURNING partition, caught_up_to"
    )
    said = await installation.mover().run()
    assert "Moved:" in said[-1]
    assert {topic: await installation.held(topic) for topic in TOPICS} == lag, "keys, values, headers, places, order"
    kept = await installation.world.owner.fetch(
        "SELECT partition, caught_up_to, refused_in_a_row FROM tally.consumer_position"
    )
    assert Counter((row[0], row[1], row[2]) for row in kept) == Counter((row[0], row[1], 7) for row in caught_up)
    await installation.go_on()
    await installation.assert_once()
    assert "already" in (await installation.mover().run())[-1], "to repeat it does no harm"


@TO_KAFKA
async def test_a_dry_run_says_what_would_be_moved_and_changes_nothing(installation: Installation) -> None:
    before = await installation.world.owner.fetch("SELECT * FROM tally.consumer_position ORDER BY partition")
    said = "\n".join(await installation.mover().run(dry=True))
    assert f"telemetry: {await installation.waiting(Topic.TELEMETRY):,} records that tally has not read" in said
    assert "telemetry-dlq: 1 records that nobody reads" in said
    assert "outbox of tally: " in said
    assert await installation.world.ask("SELECT moved_to FROM log.identity") is None
    assert await installation.world.owner.fetch("SELECT * FROM tally.consumer_position ORDER BY partition") == before
    assert all(not records for records in (await installation.held(Topic.TELEMETRY)).values())


# --- killed ---

POINTS = [
    "log_move.sealed",
    "log_move.planned",
    "log_move.appended",
    "log_move.appended:7",
    "log_move.copied",
    "log_move.before_commit",
    "log_move.switched",
]


@pytest.mark.parametrize(
    ("new_log", "point"),
    [*(("kafka", point) for point in POINTS), ("postgres", "log_move.appended:7")],
    indirect=["new_log"],
)
async def test_killed_at_a_named_place_and_run_again(installation: Installation, point: str) -> None:
    lag = {topic: await installation.old(topic) for topic in TOPICS}
    async with moving(installation.mover(point)) as process:
        assert await ended(process) == -signal.SIGKILL
    await installation.mover().run()
    assert {topic: await installation.held(topic) for topic in TOPICS} == lag, "nothing is copied a second time"
    await installation.go_on()
    await installation.assert_once()


@TO_KAFKA
async def test_a_record_that_is_copied_twice_has_its_effect_once(installation: Installation) -> None:
    """As when the log stores late what it had not acknowledged to a move that was killed."""
    await installation.mover().run()
    log = installation.new.log("test")
    await log.open()
    twice = 0
    for topic in READERS:
        for source, records in (await installation.held(topic)).items():
            await log.append(topic, [Record(*record) for record in records[:5]], source.partition)
            twice += len(records[:5])
    await log.close()
    assert twice > 50
    await installation.go_on()
    await installation.assert_once()


@TO_KAFKA
async def test_what_the_new_log_was_given_meanwhile_stays_there(installation: Installation) -> None:
    """An ingest that was started early appends beside the move; what is recognised are the copies among its records."""
    log = installation.new.log("early")
    await log.open()
    async with moving(installation.mover("log_move.appended:3")) as process:
        assert await ended(process) == -signal.SIGKILL
    early = [telemetry(n) for n in range(installation.published, installation.published + 20)]
    await publish(log, early)
    installation.published += 20
    await log.close()
    await installation.mover().run()
    held = Counter(value for records in (await installation.held(Topic.TELEMETRY)).values() for _, value, _ in records)
    assert set(held.values()) == {1}
    assert all(held[encode(event)] == 1 for event in early)
    await installation.go_on()
    await installation.assert_once()


async def test_the_new_log_dies_on_the_way_and_comes_back(world: World, fragile_kafka: FragileKafka) -> None:
    engine = await FragileKafkaEngine.make_fragile(fragile_kafka, world.url)
    installation = Installation(world, engine.address)
    await installation.get_halfway()
    async with moving(installation.mover("log_move.appended:3=freeze")) as process:
        await frozen(process)
        fragile_kafka.kill()
        thaw(process)
        await asyncio.to_thread(engine.start)
        status = await ended(process, within_seconds=60)
    if status:  # the start took longer than a move waits
        await installation.mover().run()
    await installation.go_on()
    await installation.assert_once()
    await engine.close()


@TO_KAFKA
async def test_what_nobody_reads_may_expire_on_the_way(installation: Installation) -> None:
    async with moving(installation.mover("log_move.copied")) as process:
        assert await ended(process) == -signal.SIGKILL
    kafka = KafkaEngine(installation.new)
    await kafka.expire(TopicPartition(Topic.TELEMETRY_DLQ, 3))
    await installation.mover().run()
    assert await installation.world.ask("SELECT outcome FROM log.move") == "moved"


@TO_KAFKA
async def test_copies_that_expired_before_the_switch_are_not_taken_for_copied(installation: Installation) -> None:
    async with moving(installation.mover("log_move.copied")) as process:
        assert await ended(process) == -signal.SIGKILL
    kafka = KafkaEngine(installation.new)
    held = await installation.held(Topic.TELEMETRY)
    await kafka.expire(next(source for source, records in held.items() if records))
    with pytest.raises(NotStarted, match="The new log has dropped records of telemetry/"):
        await installation.mover().run()
    await installation.mover(give_up=True).run()
    await installation.mover().run()
    await installation.go_on()
    await installation.assert_once()


# --- who is still there ---


@TO_KAFKA
async def test_it_does_not_begin_while_anybody_is_at_work(installation: Installation) -> None:
    world = installation.world
    relay_only = world.worker
    await relay_only.ping()
    with pytest.raises(NotStarted, match=r"kizashi_tally_worker \(session \d+.*Stop every service"):
        await installation.mover().run()
    await relay_only.close()
    log = event_log(world.url, name="forgotten")
    await log.open()
    with pytest.raises(NotStarted, match="forgotten log reader"):
        await installation.mover().run()
    assert "To be stopped first: forgotten log reader" in (await installation.mover().run(dry=True))[-1]
    await log.close()
    await installation.mover().run()


@TO_KAFKA
async def test_only_one_move_at_a_time(installation: Installation) -> None:
    async with moving(installation.mover("log_move.planned=freeze")) as process:
        await frozen(process)
        with pytest.raises(NotStarted, match="Another kizashi log move is at work"):
            await installation.mover().run()


async def terminate(world: World, application: str) -> None:
    """As when the network to a process breaks: the server ends its sessions, and the process does not know yet."""
    await world.owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE $1",
        application,
    )

    async def gone() -> bool:
        return not await world.ask(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE $1",
            application,
        )

    await eventually(gone, what=f"no session of {application} is left")


async def cut_off(world: World) -> None:
    """Whoever is connected with the login of services is not any more."""
    await terminate(world, "member log%")
    await terminate(world, "kizashi_tally%")
    await terminate(world, "kizashi_echo%")


@TO_KAFKA
async def test_a_forgotten_appender_is_told_where_the_log_is(installation: Installation) -> None:
    world = installation.world
    forgotten = event_log(world.url, name="forgotten")
    await forgotten.open()
    await terminate(world, "forgotten log%")
    await installation.mover().run()
    record = Record(b"1:a", b"value")
    with pytest.raises(RetryLater, match=r"was moved to (postgresql:///test_log|kafka://127).*set KIZASHI_LOG_URL"):
        await forgotten.append(Topic.TELEMETRY, [record])
    with pytest.raises(NotStarted, match="was moved to"):
        await forgotten.ends([Topic.TELEMETRY])
    await forgotten.close()
    with pytest.raises(NotStarted, match="was moved to"):
        await event_log(world.url, name="late").open()


@TO_KAFKA
async def test_nothing_that_was_acknowledged_is_lost_however_late_it_came(installation: Installation) -> None:
    """Appenders that no check sees go on while the log is sealed: each record is refused, or in the new log."""
    acknowledged: list[int] = []

    async def append_until_refused(lane: int) -> str:
        sly = await asyncpg.connect(installation.world.url, server_settings={"role": "kizashi_log"})
        for n in range(100_000):
            number = lane * 1_000_000 + n
            event = telemetry(number)
            try:
                await sly.execute(APPEND_ONE, number % 12, event.key, encode(event))
            except asyncpg.PostgresError as exc:
                await sly.close()
                return str(exc)
            acknowledged.append(number)
        raise AssertionError("nobody refused")

    appending = [asyncio.create_task(append_until_refused(lane)) for lane in range(1, 5)]

    async def under_way() -> bool:
        return len(acknowledged) > 100

    await eventually(under_way, what="appends are under way")
    await installation.mover().run()
    assert all("was moved to" in answer for answer in await asyncio.gather(*appending))
    held = {value for records in (await installation.held(Topic.TELEMETRY)).values() for _, value, _ in records}
    assert all(encode(telemetry(number)) in held for number in acknowledged)


@TO_KAFKA
async def test_an_append_that_is_under_way_is_waited_for(installation: Installation) -> None:
    world, event = installation.world, telemetry(10_000)
    sly = await asyncpg.connect(world.url, server_settings={"role": "kizashi_log"})
    transaction = sly.transaction()
    await transaction.start()
    await sly.execute(APPEND_ONE, 5, event.key, encode(event))
    move = asyncio.create_task(installation.mover().run())

    async def waits() -> bool:
        return bool(
            await world.ask(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                "AND application_name LIKE 'kizashi log move%' AND wait_event_type = 'Lock'"
            )
        )

    await eventually(waits, what="the seal waits for the append")
    await transaction.commit()
    await sly.close()
    await move
    held = {value for records in (await installation.held(Topic.TELEMETRY)).values() for _, value, _ in records}
    assert encode(event) in held


@TO_KAFKA
async def test_a_zombie_that_wakes_after_the_move_changes_nothing(installation: Installation) -> None:
    await installation.publish_on_old(1)
    async with alive(Member(installation.world.url, freeze="before the transaction")) as zombie:
        await frozen(zombie)
        await cut_off(installation.world)
        await installation.mover().run()
        positions = "SELECT array_agg(p ORDER BY p.topic, p.partition) FROM {}.consumer_position p"
        before = [await installation.world.ask(positions.format(service)) for service in ("tally", "echo")]
        thaw(zombie)
        assert await ended(zombie, within_seconds=30) == 1
        assert [await installation.world.ask(positions.format(service)) for service in ("tally", "echo")] == before
    await installation.go_on()
    await installation.assert_once()


@TO_KAFKA
async def test_a_zombie_that_wakes_in_the_middle_of_the_move_doubles_nothing(installation: Installation) -> None:
    """Until the switch the compare-and-set of its batch succeeds: what was copied besides is known by its claims."""
    await installation.publish_on_old(1)
    async with alive(Member(installation.world.url, freeze="before the transaction")) as zombie:
        await frozen(zombie)
        await cut_off(installation.world)
        async with moving(installation.mover("log_move.planned=freeze")) as mover:
            await frozen(mover)
            before = await installation.world.ask("SELECT count(*) FROM tally.effect")
            thaw(zombie)
            await installation.effects("tally", before + 1)
            zombie.kill()
            await ended(zombie)
            thaw(mover)
            assert await ended(mover) in (0, 1), "done, or it lost its lock while it was frozen"
    await cut_off(installation.world)
    await installation.mover().run()
    await installation.go_on()
    await installation.assert_once()


# --- refusals, and the way back ---


@TO_KAFKA
async def test_the_same_log_is_no_destination(installation: Installation) -> None:
    same = Mover(installation.world.owner_url, LogAddress(installation.world.url))
    with pytest.raises(NotStarted, match="is the log that is to be moved"):
        await same.run()


@TO_KAFKA
async def test_a_position_outside_of_the_old_log_is_not_moved(installation: Installation) -> None:
    await installation.world.owner.execute("UPDATE tally.consumer_position SET next = 100000 WHERE partition = 4")
    with pytest.raises(NotStarted, match=r"tally is at 100000 in telemetry/4, but the log holds 0 to \d+.*log skip"):
        await installation.mover().run()
    assert await installation.world.ask("SELECT moved_to FROM log.identity") is None


@TO_KAFKA
async def test_a_position_of_a_third_log_is_not_moved(installation: Installation) -> None:
    await installation.world.owner.execute("UPDATE echo.consumer_position SET log_identity = 'x' WHERE partition = 4")
    with pytest.raises(NotStarted, match="echo reads touches/4 of the log x, which is not the one at"):
        await installation.mover().run()


async def test_a_move_is_given_up_and_begun_again(installation: Installation) -> None:
    with pytest.raises(NotStarted, match="nothing to give up"):
        await installation.mover(give_up=True).run()
    async with moving(installation.mover("log_move.appended:5")) as process:
        assert await ended(process) == -signal.SIGKILL
    async with moving(installation.mover("log_move.given_up", give_up=True)) as process:
        assert await ended(process) == -signal.SIGKILL
    await installation.mover(give_up=True).run()
    log = event_log(installation.world.url, name="old again")
    await log.open()
    await publish(log, [telemetry(n) for n in range(installation.published, installation.published + 30)])
    installation.published += 30
    await log.close()
    lag = await installation.waiting(Topic.TELEMETRY)
    await installation.mover().run()
    assert sum(len(records) for records in (await installation.held(Topic.TELEMETRY)).values()) > lag, "some twice"
    await installation.go_on()
    await installation.assert_once()
    with pytest.raises(NotStarted, match="the positions have left it"):
        await installation.mover(give_up=True).run()


# --- back ---


@contextlib.asynccontextmanager
async def unsealed_at_the_end(log: LogAddress) -> AsyncIterator[None]:
    """The topics are other tests' too."""
    try:
        yield
    finally:
        kafka = KafkaLog(log.url, log.kafka)
        await kafka.open()
        await kafka.unseal()
        await kafka.close()


@TO_KAFKA
async def test_there_and_back_again(installation: Installation) -> None:
    """Kafka is sealed for whoever goes on with it, and PostgreSQL takes records again."""
    world, there = installation.world, installation.new
    await installation.mover().run()
    log = there.log("test")
    await log.open()
    async with world.running(tally(log, world.worker), Relay("tally", world.worker, log, world.url)):
        await installation.effects("tally", EVENTS)
    await publish(log, [telemetry(n) for n in range(installation.published, installation.published + 100)])
    installation.published += 100
    await installation.stop()
    async with unsealed_at_the_end(there):
        await installation.mover(back=True).run()
        installation.new = LogAddress(world.url)
        with pytest.raises(RetryLater, match=r"max\.message\.bytes"):
            await log.append(Topic.TELEMETRY, [Record(b"1:a", b"value")])
        await log.close()
        late = there.log("late")
        with pytest.raises(NotStarted, match="on this Kafka was moved away"):
            await late.open()
        await late.close()
    letters = [record for records in (await installation.held(Topic.TELEMETRY_DLQ)).values() for record in records]
    assert letters == [(b"1:x", b"rejected", {"reason": b"no"})], "what nobody reads was there already"
    await installation.go_on()
    await installation.assert_once()


@TO_KAFKA
async def test_nothing_that_a_kafka_acknowledged_is_lost_when_it_is_left(installation: Installation) -> None:
    await installation.mover().run()
    log = installation.new.log("sly")
    await log.open()
    acknowledged: list[int] = []

    async def append_until_refused(lane: int) -> str:
        for n in range(100_000):
            number = lane * 1_000_000 + n
            try:
                await publish(log, [telemetry(number)])
            except RetryLater as exc:
                return str(exc)
            acknowledged.append(number)
        raise AssertionError("nobody refused")

    appending = [asyncio.create_task(append_until_refused(lane)) for lane in range(1, 5)]

    async def under_way() -> bool:
        return len(acknowledged) > 100

    await eventually(under_way, what="appends are under way")
    async with unsealed_at_the_end(installation.new):
        await installation.mover(back=True).run()
        assert all("max.message.bytes" in answer for answer in await asyncio.gather(*appending))
    await log.close()
    installation.new = LogAddress(installation.world.url)
    held = {value for records in (await installation.held(Topic.TELEMETRY)).values() for _, value, _ in records}
    assert all(encode(telemetry(number)) in held for number in acknowledged)


@TO_KAFKA
async def test_a_move_back_is_killed_and_given_up(installation: Installation) -> None:
    world = installation.world
    await installation.mover().run()
    await world.owner.execute("UPDATE log.topic_partition SET earliest = next")  # the page's way to free the space
    await world.owner.execute("TRUNCATE log.record")
    async with unsealed_at_the_end(installation.new):
        async with moving(installation.mover("log_move.unsealed", back=True)) as process:
            assert await ended(process) == -signal.SIGKILL
        assert await world.ask("SELECT moved_to FROM log.identity") is None
        await installation.mover(give_up=True, back=True).run()
        assert str(await world.ask("SELECT moved_to FROM log.identity")).startswith("kafka://")
        await installation.go_on()
        await installation.assert_once()
        await installation.mover(back=True).run()
    installation.new = LogAddress(world.url)
    await installation.go_on()
    await installation.assert_once()


async def test_from_a_log_that_has_a_database_of_its_own(
    world: World, new_log_on_postgres: LogAddress, new_log_on_kafka: LogAddress
) -> None:
    installation = Installation(world, new_log_on_postgres)
    await installation.get_halfway()
    await installation.mover().run()
    owner_of_log = new_log_on_postgres.url.replace(f"//{LOGIN}@", f"//{OWNER}@")
    with pytest.raises(NotStarted, match="or name it as its owner"):
        await move_to_kafka(installation, new_log_on_postgres.url, new_log_on_kafka)
    await move_to_kafka(installation, owner_of_log, new_log_on_kafka)
    with pytest.raises(NotStarted, match="was moved to kafka://"):
        await new_log_on_postgres.log("late").open()
    installation.new = new_log_on_kafka
    await installation.go_on()
    await installation.assert_once()
    await installation.stop()


async def move_to_kafka(installation: Installation, old_url: str, to: LogAddress) -> None:
    """As the command wires it."""
    owner_url = installation.world.owner_url
    move = LogMove(owner_url, origin(old_url, owner_url, to.kafka), readers=READERS, tell=lambda _: None)
    await move.run(destination(to.url, owner_url, to.kafka))


# --- the command ---


async def test_the_command(
    database: TestDatabase, new_log_on_postgres: LogAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the readers that the services are."""
    monkeypatch.setenv("KIZASHI_OWNER_DATABASE_URL", database.owner_url)

    async def kizashi(*words: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, main, ["log", "move", *words])
        return result.exit_code, result.output

    assert "No log to move to" in (await kizashi())[1]
    monkeypatch.setenv("KIZASHI_LOG_URL", new_log_on_postgres.url)
    log = event_log(database.url, name="test")
    await log.open()
    await publish(log, [telemetry(n) for n in range(1000)])
    await log.close()
    assert "telemetry: 1,000 records that health has not read" in (await kizashi("--dry-run"))[1]
    assert "outbox of notify: 0 records" in (await kizashi("--dry-run"))[1]
    status, said = await kizashi("--from", database.url)
    assert (status, "Moved: 1,000 records copied" in said) == (0, True), said
    status, said = await kizashi()
    assert (status, "nothing is left to be moved" in said) == (0, True), said
    status, said = await kizashi("--give-up")
    assert (status, "has ended and the positions have left it" in said) == (1, True), said
    owner = await asyncpg.connect(database.owner_url)
    rows = await owner.fetch("SELECT topic, partition, next FROM health.consumer_position WHERE topic = 'telemetry'")
    await owner.close()
    assert [row["next"] for row in rows] == [0] * 12
