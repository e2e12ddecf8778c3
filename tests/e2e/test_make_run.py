"""`make run` as a person lives with it: killed services, Ctrl-C and on again, a real installation, clear refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.demo.asking import Asking
from deploy.local.demo.evidence import told_so_far
from deploy.local.demo.world import STORY
from libs.common.event_log import Record
from libs.common.event_log_open import event_log
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.e2e.foreign_eyes import Eyes, bootstrap, plant_dead_letters, walk
from tests.e2e.running import ROOT, LocalRun, local_run
from tests.e2e.story import (
    DAY_SECONDS,
    Watching,
    came_true,
    kill_each_around_the_days_on_which_somebody_is_told,
    stop_and_go_on,
)


async def test_killed_stopped_and_frozen_the_story_still_comes_true(folder: Path) -> None:
    with local_run(folder, KIZASHI_LOCAL_DAY_SECONDS=str(DAY_SECONDS)) as run:
        run.start()
        found = await run.ready()
        assert stat.S_IMODE(run.home.run_file.stat().st_mode) == 0o600
        assert {"urls", "write_key", "api_key", "pids", "database", "log"} <= found.keys()
        async with aclosing(Asking(found["urls"], found["api_key"])) as asking:
            told_by_history = await told_so_far(asking)
            watching = Watching(run, asking)
            await _freeze_health_for_ten_days(run, watching)
            await watching.until_day(15.5)
            await stop_and_go_on(run, watching, found["api_key"])
            await kill_each_around_the_days_on_which_somebody_is_told(run, watching)
            await watching.until_day(STORY.days)
            await came_true(run, asking, watching, told_by_history, log="postgres")
        await _nobody_else_sees_anything(found)
        assert "It is now" in run.said()
        assert "Tanaka Robotics" in run.kizashi("accounts", "--band", "yellow")
        assert "Usage against the account's own past" in run.kizashi("account", "tanaka-robotics")
        assert "touch_delivered" in run.kizashi("timeline", "tanaka-robotics")
        run.stop(signal.SIGTERM)


async def _freeze_health_for_ten_days(run: LocalRun, watching: Watching) -> None:
    """Under traffic: it wakes up and must call nobody silent who was not."""
    await watching.until_day(1)
    os.kill(run.pids()["health"], signal.SIGSTOP)
    await watching.until_day(11, looking=False)
    os.kill(run.pids()["health"], signal.SIGCONT)


async def _nobody_else_sees_anything(found: dict[str, Any]) -> None:
    other = bootstrap(found["owner_database"], "Another company")
    await plant_dead_letters(found["log"], workspace=1)
    assert await walk(Eyes(found["urls"], found["api_key"]), Eyes(found["urls"], other["api_key"])) >= 15


async def test_without_the_demo_it_is_a_real_installation_in_observe(folder: Path) -> None:
    with local_run(folder, DEMO="0") as run:
        run.start()
        found = await run.ready()
        assert "product" not in found["pids"]
        assert not run.home.clock_file.exists()
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {found['api_key']}"}) as http:
            mode = (await http.get(f"{found['urls']['notify']}/v1/delivery-mode")).json()
            assert mode["mode"] == "observe"
            assert (await http.get(f"{found['urls']['health']}/v1/accounts")).json()["accounts"] == []
            sources = (await http.get(f"{found['urls']['ingest']}/v1/sources")).json()
            assert [source["state"] for source in sources] == ["importing"]

        await _use_the_command_line(run, found["owner_database"])

        status, sentence = run.refused()
        assert (status, sentence.count("\n")) == (2, 1)
        assert "already runs" in sentence

        # kill -9 of the front leaves the rest behind; the next start recognises and replaces it.
        assert run.front is not None
        before = run.pids()
        run.front.kill()
        run.front.wait()
        assert {process.pid for process in run.running()} >= {before["health"], before["postgres"]}
        run.start()
        again = await run.ready()
        assert again["api_key"] == found["api_key"]
        assert "ended what an earlier start left running" in run.said_last_time()
        assert not set(again["pids"].values()) & {before[name] for name in run.ports}

        # A hanging child does not keep Ctrl-C waiting.
        os.kill(again["pids"]["health"], signal.SIGSTOP)
        run.stop()


async def _use_the_command_line(run: LocalRun, database: str) -> None:
    assert "First product" in run.kizashi("sources")
    examined = run.kizashi("doctor")  # which fails when it finds a problem
    assert "health is ready at" in examined
    assert "Default is in observe" in examined
    assert "Slack lets kizashi into Local." in examined
    assert "No accounts yet" in run.kizashi("accounts")
    assert run.kizashi("notify", "mode").startswith("observe")
    assert run.kizashi("notify", "enable").startswith("enabled")
    assert run.kizashi("notify", "kill").startswith("KILLED")
    assert run.kizashi("notify", "kill", "--release").startswith("enabled")
    assert run.kizashi("notify", "observe").startswith("observe")
    assert "No dead letters" in run.kizashi("dlq", "list")

    log = event_log(database, name="test")
    await log.open()
    await log.append(Topic.HEALTH, [Record(key=b"1:acme", value=b"this is no event")])
    await log.close()

    async def letters(replayed: int = 0) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads(run.kizashi("dlq", "list", "--service", "playbook", "--json"))
        return found if sum(one["replayed_at"] is not None for one in found) == replayed else []

    (letter,) = await eventually(letters)
    assert "this is no event" in run.kizashi("dlq", "show", letter["id"])
    assert "playbook gets it again" in run.kizashi("dlq", "replay", letter["id"])
    await eventually(lambda: letters(replayed=1))


async def test_make_stop_ends_it_and_a_demo_does_not_share_its_home(folder: Path) -> None:
    with local_run(folder, DEMO="0") as run:
        run.start()
        await run.ready()
        assert run.make_stop() == "Stopped.\n"
        assert run.running() == []
        assert run.make_stop() == "Nothing was running.\n"
        status, sentence = run.refused(DEMO="1")
        assert (status, sentence.count("\n")) == (2, 1)
        assert "holds a real installation" in sentence
        assert run.running() == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"KIZASHI_LOCAL_HELTH_PORT": "9000"}, "KIZASHI_LOCAL_HELTH_PORT is not a setting"),
        ({"KIZASHI_DATABASE_URL": "postgresql://elsewhere"}, "KIZASHI_DATABASE_URL is set"),
        ({"KIZASHI_LOCAL_INGEST_PORT": "70000"}, "KIZASHI_LOCAL_INGEST_PORT is not valid"),
        ({"DEMO": "perhaps"}, "DEMO is not valid"),
    ],
)
def test_a_wrong_setting_is_one_sentence(folder: Path, variables: dict[str, str], words: str) -> None:
    with local_run(folder) as run:
        status, sentence = run.refused(**variables)
        assert (status, sentence.count("\n")) == (2, 1)
        assert sentence.startswith(words)


def test_a_port_in_use_is_one_sentence_and_nothing_is_started(folder: Path) -> None:
    with local_run(folder) as run:
        with socket.create_server(("127.0.0.1", run.ports["playbook"])):
            status, sentence = run.refused()
        assert (status, sentence.count("\n")) == (2, 1)
        assert f"Port {run.ports['playbook']} for playbook" in sentence
        assert run.running() == []


def test_a_mistake_in_the_configuration_is_one_sentence_with_its_line(folder: Path) -> None:
    config = folder / "config"
    shutil.copytree(ROOT / "config", config)
    segments = config / "segments.yaml"
    segments.write_text(segments.read_text() + "  - segment: [never\n")
    with local_run(folder, KIZASHI_CONFIG_DIR=str(config), DEMO="0") as run:
        status, sentence = run.refused()
        assert (status, sentence.count("\n")) == (2, 1)
        assert f"{segments}, line " in sentence
        assert run.running() == []
