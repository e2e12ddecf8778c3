"""The real services under load leave PostgreSQL's event log for Kafka: all of them are killed, the log is moved by the
command, itself killed in the middle, and they are started again, one of them having been forgotten on the old log."""

from __future__ import annotations

import asyncio
import dataclasses
import signal

import asyncpg
import pytest

from deploy.local.database import NAME
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_open import event_log
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.faults.broker import Kafka
from tests.faults.checker import check
from tests.faults.commands import kizashi
from tests.faults.load import Load
from tests.faults.recorder import Recorder
from tests.faults.schedule import Engine
from tests.faults.town import Town, town

STORIES = {"high": 6, "pool": 6, "mail": 12}
FORGOTTEN = "ingest-1"


async def cut_off(town: Town) -> None:
    """The sessions of everybody, as when the network to a frozen machine breaks."""
    owner = await asyncpg.connect(town.postgres.owner_url)
    everybody = "FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid() AND application_name <> ''"
    await owner.execute(f"SELECT pg_terminate_backend(pid) {everybody}", NAME)

    async def gone() -> bool:
        return not await owner.fetchval(f"SELECT count(*) {everybody}", NAME)

    await eventually(gone, what="nobody is connected")
    await owner.close()


@pytest.mark.usefixtures("kafka_jars")
async def test_the_services_leave_postgresql_for_kafka_and_every_event_counts_once() -> None:
    async with town(Engine.POSTGRES) as made:
        broker = Kafka(made.folder / "kafka")
        await broker.start()
        try:
            await leave_for(made, broker.url)
        finally:
            await broker.stop()


async def leave_for(made: Town, url: str) -> None:
    status, said = await kizashi(made, "log", "create", log_url=url)
    assert status == 0, said
    new_log = event_log(url, name="recorder", kafka=KafkaAccess(locks_url=made.postgres.url))
    await new_log.open()
    try:
        load = Load(made, await made.new_workspace(), STORIES)
        recorder = Recorder(made, load, new_log)
        await recorder.begin()
        async with load.at_work():
            load.tell(8)
            await until_somebody_is_told(made)
            began = recorder.now()
            await move_under_load(made, load, url)
            recorder.note_fault("moved to Kafka", began, recorder.now())
            load.tell(8)
        history = await recorder.history()
    finally:
        await new_log.close()
    findings = check(dataclasses.replace(history, log=None))  # of which the new one holds only the end
    assert findings == [], "\n".join(["", *map(str, findings[:20]), f"logs are in {made.logs}"])
    assert len(history.touches) >= len(load.told)


async def until_somebody_is_told(made: Town) -> None:
    owner = await asyncpg.connect(made.postgres.owner_url)

    async def is_told() -> bool:
        return bool(await owner.fetchval("SELECT count(*) FROM notify.delivery"))

    await eventually(is_told, within_seconds=60, what="the first message is on its way")
    await owner.close()


async def until_behind(made: Town, service: str, topic: Topic, records: int) -> None:
    """So many records wait for a service that does not run any more."""
    owner = await asyncpg.connect(made.postgres.owner_url)

    async def wait() -> bool:
        behind = await owner.fetchval(
            f"SELECT sum(l.next - p.next) FROM log.topic_partition l JOIN {service}.consumer_position p "
            "USING (topic, partition) WHERE topic = $1",
            topic.value,
        )
        return bool(behind >= records)

    await eventually(wait, within_seconds=60, what=f"{records} records of {topic} wait for {service}")
    await owner.close()


async def kill(made: Town, service: str) -> None:
    await asyncio.gather(*(process.end() for process in made.of(service)))


async def move_under_load(made: Town, load: Load, url: str) -> None:
    status, said = await kizashi(made, "log", "move", "--dry-run", log_url=url)
    assert status == 0, said
    assert "To be stopped first: health log owner" in said
    await kill(made, "notify")
    load.tell(4)
    await until_behind(made, "notify", Topic.TOUCHES, 4)
    await kill(made, "playbook")
    load.tell(4)
    await until_behind(made, "playbook", Topic.HEALTH, 4)
    await kill(made, "health")
    await until_behind(made, "health", Topic.TELEMETRY, 300)
    forgotten = made.processes[FORGOTTEN]
    forgotten.freeze()
    await made.processes["ingest-0"].end()
    status, said = await kizashi(made, "log", "move", log_url=url)
    assert status == 1, said
    assert "kizashi ingest log writer (session" in said, "the frozen one is seen"
    await cut_off(made)
    status, said = await kizashi(made, "log", "move", log_url=url, failpoints="log_move.appended:3")
    assert status == -signal.SIGKILL, said
    status, said = await kizashi(made, "log", "move", log_url=url)
    assert status == 0, said
    assert "Moved: " in said

    for process in made.processes.values():
        process.environment = {**process.environment, "KIZASHI_LOG_URL": url}
    forgotten.thaw()

    async def told() -> bool:
        return "was moved to kafka://" in forgotten.said()

    await asyncio.gather(*(p.start() for name, p in made.processes.items() if name != FORGOTTEN))
    await eventually(told, within_seconds=60, what="the forgotten ingest is told, as somebody sends to it")
    await forgotten.end()
    await made.start_services()
