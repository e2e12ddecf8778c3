"""How a process gets into a Kafka cluster with TLS and a login, and what it says where it does not."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import EmbeddedKafka, start
from deploy.local.kafka_properties import Guard
from libs.common.errors import NotStarted, RetryLater
from libs.common.event_log import Record, TopicPartition
from libs.common.event_log_kafka.access import KafkaAccess, brokers_of
from libs.common.event_log_kafka.topics import create_topics
from libs.common.event_log_open import event_log
from libs.common.topics import Topic
from tests.certificates import self_signed
from tests.conftest import TestDatabase

TOPIC = Topic.HEALTH


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="kizashi-guarded-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def guard(home: Path) -> Guard:
    _, certificate = self_signed(home)
    return Guard(certificate=certificate, key=home / "server.key")


@pytest.fixture(scope="module")
def guarded(home: Path, guard: Guard, kafka_jars: Path) -> Iterator[EmbeddedKafka]:
    """A broker that also listens with TLS and passwords."""
    broker = start(home / "kafka", guard=guard, durable=False, jars=kafka_jars)
    yield broker
    broker.stop()


def access(guard: Guard, **changes: Any) -> KafkaAccess:
    right = {
        "tls": True,
        "ca_file": guard.certificate,
        "username": guard.username,
        "password": guard.password,
    }
    return KafkaAccess(**{**right, **changes})


async def test_all_of_the_log_works_with_tls_and_a_login(
    guarded: EmbeddedKafka, guard: Guard, database: TestDatabase
) -> None:
    let_in = access(guard, locks_url=database.url)
    await create_topics(guarded.guarded_url, let_in, retention_days=1)
    log = event_log(guarded.guarded_url, name="test", kafka=let_in)
    await log.open()
    starts = await log.starts([TOPIC])

    async def start_at(source: TopicPartition) -> int:
        return starts[source]

    await log.append(TOPIC, [Record(b"1:a", b"kept secret")])
    async with log.subscribe("group", [TOPIC], start_at) as subscription:
        batch = await subscription.next_batch(10, 10)
        assert batch is not None
        assert [one.value for one in batch.records] == [b"kept secret"]
        await subscription.commit(batch.source, batch.end)
    assert len(await log.appended_at(starts)) == 1
    await log.close()


@pytest.mark.parametrize("mechanism", ["scram-sha-256", "scram-sha-512", "plain"])
async def test_every_way_to_log_in_is_known(guarded: EmbeddedKafka, guard: Guard, mechanism: str) -> None:
    let_in = access(guard, sasl_mechanism=mechanism)
    await create_topics(guarded.guarded_url, let_in, retention_days=1)
    log = event_log(guarded.guarded_url, name="test", kafka=let_in)
    await log.open()
    await log.close()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"password": "wrong"}, "refuses the login by SCRAM-SHA-512; correct KIZASHI_LOG_USERNAME"),
        ({"username": "nobody"}, "refuses the login by SCRAM-SHA-512; correct KIZASHI_LOG_USERNAME"),
        ({"password": "wrong", "sasl_mechanism": "plain"}, "refuses the login by PLAIN"),
        ({"username": ""}, "wants a login; set KIZASHI_LOG_USERNAME"),
        ({"ca_file": None}, "shows a certificate that is not trusted .*set KIZASHI_LOG_CA_FILE"),
        ({"tls": False}, "speaks TLS at that port; set KIZASHI_LOG_TLS=true"),
        ({"tls": False, "username": ""}, "speaks TLS at that port; set KIZASHI_LOG_TLS=true"),
    ],
    ids=["password", "user", "password of plain", "no login", "unknown authority", "no TLS", "neither"],
)
async def test_what_the_guarded_listener_refuses_is_one_sentence(
    guarded: EmbeddedKafka, guard: Guard, changes: dict[str, Any], says: str
) -> None:
    url = guarded.guarded_url
    log = event_log(url, name="test", kafka=access(guard, **changes))
    with pytest.raises(NotStarted, match=f"^Kafka at {re.escape(brokers_of(url)[0])} {says}") as refused:
        await log.open()
    assert guard.password not in str(refused.value)
    await log.close()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"username": ""}, "speaks no TLS at that port; unset KIZASHI_LOG_TLS"),
        ({}, "speaks no TLS at that port; unset KIZASHI_LOG_TLS"),
        ({"tls": False}, "knows no login at that port; unset KIZASHI_LOG_USERNAME"),
    ],
    ids=["TLS", "TLS and login", "login"],
)
async def test_what_the_plain_listener_does_not_know_is_one_sentence(
    guarded: EmbeddedKafka, guard: Guard, changes: dict[str, Any], says: str
) -> None:
    log = event_log(guarded.url, name="test", kafka=access(guard, **changes))
    with pytest.raises(NotStarted, match=says):
        await log.open()
    await log.close()


async def test_nobody_there_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    log = event_log(f"kafka://127.0.0.1:{port}", name="test")
    with pytest.raises(RetryLater, match="does not answer"):
        await log.open()
    await log.close()


async def test_who_listens_and_says_nothing_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        log = event_log(f"kafka://127.0.0.1:{silent.getsockname()[1]}", name="test")
        with pytest.raises(RetryLater, match="does not answer"):
            await log.open()
        await log.close()


def test_authorities_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    no_certificate = tmp_path / "ca.pem"
    no_certificate.write_text("nothing of the kind")
    for file in (no_certificate, tmp_path / "missing.pem"):
        with pytest.raises(NotStarted, match=f"{re.escape(str(file))} cannot be read .*KIZASHI_LOG_CA_FILE"):
            event_log("kafka://127.0.0.1:1", name="test", kafka=KafkaAccess(tls=True, ca_file=file))


@pytest.mark.parametrize(
    "url",
    [
        "kafka://",
        "kafka://broker",
        "kafka://broker:",
        "kafka://broker:0",
        "kafka://broker:65536",
        "kafka://broker:9092/topic",
        "kafka://user:word@broker:9092",
        "kafka://broker:9092,",
        "kafka://broker:9092, other:9092",
        "kafka://::1:9092",
    ],
)
def test_an_address_that_names_no_brokers_is_one_sentence(url: str) -> None:
    with pytest.raises(NotStarted, match="kafka://host:port") as refused:
        event_log(url, name="test")
    assert "word" not in str(refused.value)


def test_an_address_may_name_several_brokers() -> None:
    assert brokers_of("kafka://a.example:9092,10.0.0.1:9093,[::1]:9094") == [
        "a.example:9092",
        "10.0.0.1:9093",
        "[::1]:9094",
    ]


def test_secrets_do_not_show() -> None:
    shown = repr(KafkaAccess(locks_url="postgresql://u:very-secret@h/d", username="u", password="very-secret"))
    assert "very-secret" not in shown
