"""The broker of one machine: started, killed, frozen and stopped for real; and what is said where it cannot run."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from deploy.local.home import Home
from deploy.local.kafka import start, stop_left_running
from deploy.local.kafka_jars import ROOT, fetch_jars, find_java
from deploy.local.leftovers import runs
from libs.common.errors import NotStarted
from libs.common.testing import eventually, free_port

STOP_SECONDS = 10.0


def test_killed_it_comes_back_on_its_port_and_frozen_it_is_stopped_in_time(kafka_jars: Path, tmp_path: Path) -> None:
    folder = tmp_path / "カフカ hör zu"
    broker = start(folder, jars=kafka_jars)
    try:
        broker.kill()
        assert not runs(broker.pid)
        again = start(folder, jars=kafka_jars)
        assert again.url == broker.url
        assert start(folder, jars=kafka_jars).pid == again.pid
        again.freeze()
        began = monotonic()
        again.stop(within_seconds=2.5)
        assert monotonic() - began < 2.5
        assert not runs(again.pid)
    finally:
        assert not stop_left_running(folder)


@contextmanager
def make_kafka(home: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    with (home / "said.txt").open("a") as said:
        front = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "kafka"],
            cwd=ROOT,
            env={**os.environ, "KIZASHI_HOME": str(home), "KIZASHI_LOCAL_KAFKA_PORT": str(port)},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield front
    finally:
        front.kill()
        front.wait()


def make_stop(home: Path) -> str:
    command = [sys.executable, "-m", "deploy.local", "stop"]
    environment = {**os.environ, "KIZASHI_HOME": str(home)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def home(kafka_jars: Path, tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    stop_left_running(Home(tmp_path).kafka_alone)


async def test_make_kafka_runs_until_ctrl_c_and_make_stop_ends_what_a_killed_one_left(home: Path) -> None:
    port, said = free_port(), home / "said.txt"
    ready = f"ready: kafka://127.0.0.1:{port}"

    async def is_ready(times: int) -> bool:
        return said.read_text().count(ready) == times

    with make_kafka(home, port) as front:
        await eventually(lambda: is_ready(1), within_seconds=60, what=ready)
        with make_kafka(home, port) as second:
            assert second.wait(20) == 2
        assert f"`make kafka` already runs from {home} (process {front.pid})" in said.read_text()
        began = monotonic()
        front.send_signal(signal.SIGINT)
        assert front.wait(STOP_SECONDS) == 0
        assert monotonic() - began < STOP_SECONDS
    assert not stop_left_running(Home(home).kafka_alone)

    with make_kafka(home, port):
        await eventually(lambda: is_ready(2), within_seconds=60, what=ready)
    assert make_stop(home) == "Ended what was left running: the broker of `make kafka`.\n"
    assert not stop_left_running(Home(home).kafka_alone)


def test_a_folder_that_kafka_would_read_as_two_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match=r"^Kafka takes a comma .* so .*/one, two cannot hold its data\.$"):
        start(tmp_path / "one, two")


def test_a_port_in_use_is_one_sentence(kafka_jars: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NotStarted, match=rf"^Port {port} for Kafka cannot be had .*KIZASHI_LOCAL_KAFKA_PORT"):
            start(tmp_path / "kafka", port=port, jars=kafka_jars)


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that holds the only commands there are."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def command(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_a_missing_or_old_java_is_one_sentence(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotStarted, match=r"needs Java, and there is none in this machine; install Java 17"):
        find_java()
    command(commands, "java", "echo 'openjdk version \"11.0.2\" 2019-01-15' >&2")
    with pytest.raises(NotStarted, match=r"needs Java 17 or newer, and this machine has 11; install"):
        find_java()
    command(commands, "java", "echo 'java version \"1.8.0_402\"' >&2")
    with pytest.raises(NotStarted, match=r"this machine has 8; install"):
        find_java()
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    with pytest.raises(NotStarted, match=r"there is none in JAVA_HOME=/nowhere; install"):
        find_java()


def test_a_missing_maven_or_network_is_one_sentence(commands: Path, tmp_path: Path) -> None:
    jars = tmp_path / "jars"
    with pytest.raises(NotStarted, match=r"there is no mvn on this machine; install Maven, or copy .*jars"):
        fetch_jars(jars)
    command(commands, "mvn", "echo '[INFO] Scanning'; echo '[ERROR] Unknown host somewhere'; exit 1")
    with pytest.raises(NotStarted, match=r"could not fetch .*\(Unknown host somewhere\); this needs the network once"):
        fetch_jars(jars)
    assert not jars.exists()


def test_the_jars_are_fetched_once_however_many_ask(commands: Path, tmp_path: Path) -> None:
    fetched = tmp_path / "fetched"
    command(
        commands,
        "mvn",
        f'echo x >> {fetched}; for word; do case $word in -DoutputDirectory=*) mkdir "${{word#*=}}";; esac; done\n'
        "echo '[INFO] Downloaded from somewhere: https://somewhere/kafka.jar (1 MB)'",
    )
    told: list[str] = []
    with ThreadPoolExecutor() as several:
        for asking in [several.submit(fetch_jars, tmp_path / "jars", told.append) for _ in range(3)]:
            assert asking.result() == tmp_path / "jars"
    assert fetched.read_text() == "x\n"
    assert told[-1] == "Apache Kafka: 1 jars fetched, the last one kafka.jar"
