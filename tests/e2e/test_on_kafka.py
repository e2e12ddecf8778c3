"""`make run` on Kafka: with a broker of its own, killed and frozen in the story; on one that exists; and refusals."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from deploy.local.demo.asking import Asking
from deploy.local.demo.evidence import told_so_far
from deploy.local.demo.world import STORY
from deploy.local.kafka import EmbeddedKafka, start
from deploy.local.kafka_properties import Guard
from deploy.local.leftovers import runs
from libs.common.testing import eventually
from tests.certificates import self_signed
from tests.e2e.running import LocalRun, local_run
from tests.e2e.story import DAY_SECONDS, Watching, came_true, stop_and_go_on

FROZEN_SECONDS = 15.0


@pytest.mark.usefixtures("kafka_jars")
async def test_frozen_killed_and_stopped_its_broker_costs_the_story_nothing(folder: Path) -> None:
    with local_run(folder, LOG="kafka", KIZASHI_LOCAL_DAY_SECONDS=str(DAY_SECONDS)) as run:
        run.start()
        found = await run.ready()
        assert found["log"].startswith("kafka://127.0.0.1:")
        async with aclosing(Asking(found["urls"], found["api_key"])) as asking:
            told_by_history = await told_so_far(asking)
            watching = Watching(run, asking)
            await watching.until_day(3)
            await _freeze_the_broker(run)
            await watching.until_day(8)
            await _killed_it_comes_back(run, found["log"], "kafka")
            await watching.until_day(15.5)
            await stop_and_go_on(run, watching, found["api_key"])
            await watching.until_day(17)
            await _killed_it_comes_back(run, found["log"], "kafka", "health")
            await watching.until_day(19.5)
            await _killed_it_comes_back(run, found["log"], "kafka", "playbook", "notify", "ingest")
            await watching.until_day(STORY.days)
            await came_true(run, asking, watching, told_by_history, log="kafka")
        run.stop()

        status, sentence = run.refused(LOG="postgres")
        assert (status, sentence.count("\n")) == (2, 1)
        assert "has read its records from another one, on Kafka" in sentence
        assert run.running() == []


async def _freeze_the_broker(run: LocalRun) -> None:
    """For longer than any deadline: nothing is accepted, so the product and its time wait, and nobody is restarted."""
    before = run.pids()
    os.kill(before["kafka"], signal.SIGSTOP)
    thaw_at = monotonic() + FROZEN_SECONDS

    async def it_is_time() -> bool:
        return monotonic() >= thaw_at

    await eventually(it_is_time, within_seconds=2 * FROZEN_SECONDS)
    os.kill(before["kafka"], signal.SIGCONT)
    assert run.pids() == before


async def _killed_it_comes_back(run: LocalRun, log: str, *names: str) -> None:
    killed = {name: run.kill(name) for name in names}
    for name, pid in killed.items():
        await run.comes_back(name, pid)
    assert (run.run_file() or {})["log"] == log


@pytest.fixture
def guarded(kafka_jars: Path, folder: Path) -> Iterator[tuple[EmbeddedKafka, Guard]]:
    """A broker of somebody else's, with TLS and passwords."""
    _, certificate = self_signed(folder)
    guard = Guard(certificate, certificate.with_suffix(".key"))
    broker = start(folder / "somebody's", guard=guard, durable=False, jars=kafka_jars)
    yield broker, guard
    broker.stop()


async def test_a_broker_that_exists_is_used_as_it_is(folder: Path, guarded: tuple[EmbeddedKafka, Guard]) -> None:
    broker, guard = guarded
    access = {
        "KIZASHI_LOG_URL": broker.guarded_url,
        "KIZASHI_LOG_TLS": "true",
        "KIZASHI_LOG_CA_FILE": str(guard.certificate),
        "KIZASHI_LOG_USERNAME": guard.username,
        "KIZASHI_LOG_PASSWORD": guard.password,
    }
    with local_run(folder, DEMO="0", **access) as run:
        status, sentence = run.refused()
        assert (status, sentence.count("\n")) == (2, 1)
        assert "kizashi log create" in sentence

        assert "kizashi.telemetry" in run.kizashi("log", "create")
        run.start()
        found = await run.ready()
        assert found["log"] == broker.guarded_url
        assert "kafka" not in found["pids"]

        # Nobody is kept waiting by a broker that does not answer, and it is not ours to stop.
        os.kill(broker.pid, signal.SIGSTOP)
        run.stop()
        os.kill(broker.pid, signal.SIGCONT)
        assert runs(broker.pid)

        access |= {"KIZASHI_LOG_PASSWORD": "wrong"}
        status, sentence = run.refused(**access)
        assert (status, sentence.count("\n")) == (2, 1)
        assert run.running() == []


@pytest.mark.usefixtures("kafka_jars")
async def test_it_stays_on_its_log_until_it_is_moved(folder: Path) -> None:
    with local_run(folder, DEMO="0") as run:
        run.start()
        found = await run.ready()
        await _one_event_is_counted(found, altogether=1)
        run.stop()

        status, sentence = run.refused(LOG="kafka")
        assert (status, sentence.count("\n")) == (2, 1)
        assert "has read its records from another one, in PostgreSQL" in sentence
        assert "`make move`" in sentence

        assert run.make_move(LOG="kafka").endswith("Here that is: LOG=kafka make run\n")
        assert run.running() == []
        status, sentence = run.refused()
        assert (status, sentence.count("\n")) == (2, 1)
        assert "has read its records from another one, on Kafka" in sentence

        run.environment["LOG"] = "kafka"
        run.start()
        await _one_event_is_counted(await run.ready(), altogether=2)

        # kill -9 of the front leaves the rest behind, which is found and ended.
        assert run.front is not None
        run.front.kill()
        run.front.wait()
        assert run.make_stop().endswith("supervisord, kafka, postgres.\n")
        assert run.running() == []


async def _one_event_is_counted(found: dict[str, Any], *, altogether: int) -> None:
    event = {"userId": "user-7", "event": "Report Exported", "properties": {"account_id": "customer-42"}}
    async with httpx.AsyncClient() as http:
        sent = await http.post(f"{found['urls']['ingest']}/v1/track", json=event, auth=(found["write_key"], ""))
        assert sent.status_code == 200

    async with aclosing(Asking(found["urls"], found["api_key"])) as asking:

        async def are_counted() -> bool:
            return bool((await asking.progress())["usage_total"] == altogether)

        await eventually(are_counted, what=f"{altogether} events counted")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"LOG": "kafak"}, "LOG is not valid"),
        ({"LOG": "postgres", "KIZASHI_LOG_URL": "kafka://127.0.0.1:1"}, "LOG=postgres is given, but"),
        ({"KIZASHI_LOG_URL": "postgresql://elsewhere/log"}, "KIZASHI_LOG_URL is set, but"),
        ({"LOG": "kafka", "KIZASHI_LOG_TLS": "true"}, "KIZASHI_LOG_TLS is set, which is about"),
        ({"KIZASHI_LOG_URL": "kafka://127.0.0.1:1"}, "The event log at kafka://127.0.0.1:1 cannot be used: "),
    ],
)
def test_a_log_that_cannot_be_is_one_sentence(folder: Path, variables: dict[str, str], words: str) -> None:
    with local_run(folder) as run:
        status, sentence = run.refused(**variables)
        assert (status, sentence.count("\n")) == (2, 1)
        assert sentence.startswith(words)
        assert run.running() == []
