"""`kizashi doctor` and a real broker: its topics as they should be, as they should not, and a broker that is frozen."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local.kafka import EmbeddedKafka, start
from libs.common.event_log import Record
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.client import KafkaClient
from libs.common.event_log_kafka.log import KafkaEventLog
from libs.common.event_log_kafka.seal import SEALED, set_limit
from libs.common.event_log_kafka.topic_settings import MAX_MESSAGE_BYTES
from libs.common.event_log_kafka.topics import create_topics
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.integration.cli.conftest import Doctor, Examined


@pytest.fixture(scope="module")
def broker(kafka_jars: Path) -> Iterator[EmbeddedKafka]:
    """Without topics to begin with."""
    home = Path(tempfile.mkdtemp(prefix="kizashi-doctor-"))
    running = start(home / "kafka", durable=False, jars=kafka_jars)
    yield running
    running.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def kafka_doctor(owner: asyncpg.Connection, doctor: Doctor, broker: EmbeddedKafka) -> Doctor:
    doctor.set(KIZASHI_LOG_URL=broker.url)
    return doctor


@pytest.fixture
def topics(broker: EmbeddedKafka) -> None:
    asyncio.run(create_topics(broker.url, KafkaAccess(), retention_days=7))


async def _limit(broker: EmbeddedKafka, limit: int) -> None:
    client = KafkaClient(KafkaAccess().client_arguments(broker.url), "test")
    names = [KafkaAccess().name_of(topic) for topic in Topic]
    await client.ask(lambda asked: set_limit(asked, names, limit))
    await client.close()


async def test_topics_that_nobody_has_made(kafka_doctor: Doctor) -> None:
    """The first test here: they are made once."""
    seen = await kafka_doctor.look("--no-providers")
    [missing] = seen.of("topics_missing")
    assert "kizashi.telemetry" in missing
    assert "Make what is missing with `kizashi log create`" in missing
    assert not seen.of("lag")
    made = await kafka_doctor.call("log", "create")
    assert made.exit_code == 0, made.output

    async def whole() -> list[Examined]:
        seen = await kafka_doctor.look("--no-providers")
        return [seen] if seen.of("topics") and seen.of("lag") else []

    [seen] = await eventually(whole, what="a whole log")
    assert seen.of("topics") == ["All 10 topics are there, with 12 partitions and 7 days each."]
    assert set(seen.problems) == {"service_away"}, seen.text


async def test_what_waits_on_kafka_is_seen_and_so_is_another_log(
    topics: None, owner: asyncpg.Connection, kafka_doctor: Doctor, broker: EmbeddedKafka
) -> None:
    log = KafkaEventLog(broker.url, KafkaAccess(), name="test")
    await log.open()
    await log.append(Topic.HEALTH, [Record(b"1:a", b"x")] * 3)
    await log.close()
    await owner.execute(
        "INSERT INTO notify.consumer_position (topic, partition, log_identity, next) VALUES ('touches', 0, 'old', 7)"
    )
    seen = await kafka_doctor.look("--no-providers")
    assert "playbook has read all but 3 new records." in seen.of("lag")
    [another] = seen.of("another_log")
    assert another.startswith("notify has read touches of the event log old, but this one is kafka:")


async def test_topics_that_keep_too_little_or_were_moved_away(
    topics: None, kafka_doctor: Doctor, broker: EmbeddedKafka
) -> None:
    kafka_doctor.set(KIZASHI_LOG_RETENTION_DAYS="6")
    seen = await kafka_doctor.look("--no-providers")
    assert "All topics keep records for more than the 6 days of" in seen.of("topic_retention")[0]
    await _limit(broker, SEALED)
    try:

        async def moved() -> list[str]:
            return (await kafka_doctor.look("--no-providers")).of("log_moved")

        [sentence] = await eventually(moved)
        assert sentence.startswith("The event log on this Kafka was moved away: all topics take no record any more.")
    finally:
        await _limit(broker, MAX_MESSAGE_BYTES)


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"KIZASHI_LOG_TLS": "true"}, "speaks no TLS at that port; unset KIZASHI_LOG_TLS"),
        ({"KIZASHI_LOG_USERNAME": "me"}, "knows no login at that port; unset KIZASHI_LOG_USERNAME"),
    ],
    ids=["tls", "sasl"],
)
async def test_tls_and_login_are_told_apart(kafka_doctor: Doctor, variables: dict[str, str], says: str) -> None:
    kafka_doctor.set(**variables)
    seen = await kafka_doctor.look("--no-providers")
    assert says in seen.of("log")[0]


async def test_a_frozen_broker_is_not_waited_for(topics: None, kafka_doctor: Doctor, broker: EmbeddedKafka) -> None:
    broker.freeze()
    try:
        seen = await kafka_doctor.look("--no-providers")
    finally:
        broker.thaw()
    [sentence] = seen.of("log")
    assert "does not answer" in sentence
    assert "Start Kafka, or correct KIZASHI_LOG_URL." in sentence
    assert seen.seconds < 20
    assert seen.of("schemas")  # what answers is looked at
    assert not seen.of("lag")
