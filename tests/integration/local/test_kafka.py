"""The broker of one machine: started, killed, frozen and stopped for real."""

from __future__ import annotations

from pathlib import Path

from deploy.local.kafka import start, stop_left_running
from deploy.local.leftovers import runs


def test_killed_it_comes_back_on_its_port_and_stopped_it_is_gone(kafka_jars: Path, tmp_path: Path) -> None:
    broker = start(tmp_path / "kafka", jars=kafka_jars)
    try:
        broker.kill()
        assert not runs(broker.pid)
        again = start(tmp_path / "kafka", jars=kafka_jars)
        assert (again.url, again.pid == broker.pid) == (broker.url, False)
        found = start(tmp_path / "kafka", jars=kafka_jars)
        assert found.pid == again.pid
    finally:
        stopped = stop_left_running(tmp_path / "kafka")
    assert stopped
    assert not runs(again.pid)
    assert not stop_left_running(tmp_path / "kafka")
