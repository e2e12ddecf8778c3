"""`kizashi log create` makes topics on Kafka, once, and tells in a sentence why it cannot."""

from __future__ import annotations

import asyncio
import socket

import pytest
from click.testing import CliRunner, Result

from cli.__main__ import main
from deploy.local.kafka import EmbeddedKafka
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.log import KafkaEventLog
from libs.common.topics import Topic


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KIZASHI_DATABASE_URL", raising=False)
    monkeypatch.delenv("KIZASHI_LOG_URL", raising=False)


def create(*options: str) -> Result:
    return CliRunner().invoke(main, ["log", "create", *options])


def test_topics_are_made_and_made_once(kafka: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_LOG_URL", kafka.url)
    first, second = create(), create()
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert "7 days of retention, 1 replicas" in first.output or "were there" in first.output
    assert second.output == f"{len(Topic)} topics were there and stay as they are.\n"
    asyncio.run(can_be_opened(kafka.url))


async def can_be_opened(url: str) -> None:
    log = KafkaEventLog(url, KafkaAccess(), name="test")
    await log.open()
    await log.close()


def test_on_postgresql_there_is_nothing_to_make() -> None:
    asked = create()
    assert asked.exit_code == 0
    assert "the migrations make it" in asked.output


def test_a_broker_that_does_not_answer_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("KIZASHI_LOG_URL", f"kafka://127.0.0.1:{port}")
    asked = create()
    assert asked.exit_code == 1
    assert "start Kafka, or correct KIZASHI_LOG_URL" in asked.output
    assert "Traceback" not in asked.output


def test_an_address_that_is_none_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_LOG_URL", "kafka://nobody")
    asked = create()
    assert asked.exit_code == 1
    assert "KIZASHI_LOG_URL is not valid" in asked.output
