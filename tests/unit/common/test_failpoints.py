"""Failpoints are for tests alone, and a misspelt one is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from libs.common.errors import NotStarted
from libs.common.failpoints import arm, failpoint


def test_an_unarmed_place_does_nothing() -> None:
    arm("", "production")
    failpoint("consumer.before_commit")


def test_production_refuses() -> None:
    with pytest.raises(NotStarted, match="refused in production"):
        arm("consumer.before_commit", "production")


@pytest.mark.parametrize(
    "specification", ["consumer.before_commit:0", "a:b", "a,,b", "a:1:2", "A", "a=thaw", "a=freeze:2", "a:1="]
)
def test_what_cannot_be_read_is_one_sentence(specification: str) -> None:
    with pytest.raises(NotStarted, match="is not name, name:nth or name:nth=freeze"):
        arm(specification, "test")


def test_a_place_waits_for_its_turn() -> None:
    arm("here:3", "test")
    failpoint("here")
    failpoint("here")
    failpoint("elsewhere")
    arm("", "test")
    failpoint("here")


PASSING = """
from libs.common.failpoints import arm, failpoint
arm({!r}, "test")
for n in range(5):
    print(n, flush=True)
    failpoint("here")
"""


@contextmanager
def passing(specification: str) -> Iterator[subprocess.Popen[str]]:
    """A process that passes ``here`` five times, saying a number before each."""
    child = subprocess.Popen([sys.executable, "-c", PASSING.format(specification)], stdout=subprocess.PIPE, text=True)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def test_it_dies_at_the_nth_passing() -> None:
    with passing("here:3") as child:
        said, _ = child.communicate(timeout=20)
        assert child.returncode == -signal.SIGKILL
    assert said.split() == ["0", "1", "2"]


def test_it_freezes_at_the_nth_passing_and_goes_on_for_good_when_woken() -> None:
    with passing("elsewhere, here:3=freeze") as child:
        _, status = os.waitpid(child.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        child.send_signal(signal.SIGCONT)
        said, _ = child.communicate(timeout=20)
        assert child.returncode == 0
    assert said.split() == ["0", "1", "2", "3", "4"]
