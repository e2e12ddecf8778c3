"""Only what a home itself wrote down is ended, and never a process that merely got the same number."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.local.home import Home
from deploy.local.leftovers import end_leftovers, remember, runs
from libs.common.errors import NotStarted


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.make()
    return made


@pytest.fixture
def sleeper() -> Iterator[psutil.Process]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def test_what_was_left_running_is_ended(home: Home, sleeper: psutil.Process) -> None:
    remember(home, {"health": sleeper.pid})
    assert end_leftovers(home) == ["health"]
    assert not runs(sleeper.pid)
    assert end_leftovers(home) == []


def test_a_process_with_the_same_number_is_left_alone(home: Home, sleeper: psutil.Process) -> None:
    remember(home, {"health": sleeper.pid})
    known = json.loads(home.processes_file.read_text())
    known["health"]["started"] -= 60
    home.processes_file.write_text(json.dumps(known))
    assert end_leftovers(home) == []
    assert runs(sleeper.pid)


def test_one_home_has_one_front(home: Home) -> None:
    with home.front.held(), pytest.raises(NotStarted, match="already runs"), home.front.held():
        pass
    with home.front.held():
        assert home.front.holder() is not None
    assert home.front.holder() is None


def test_a_file_that_is_not_ours_is_one_sentence(home: Home) -> None:
    home.processes_file.write_text("[1, 2")
    with pytest.raises(NotStarted, match="begin anew"):
        end_leftovers(home)
