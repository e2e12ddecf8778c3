"""Failpoints are for tests alone, and a misspelt one is told."""

from __future__ import annotations

import pytest

from libs.common.errors import NotStarted
from libs.common.failpoints import arm, failpoint


def test_an_unarmed_place_does_nothing() -> None:
    arm("", "production")
    failpoint("consumer.before_commit")


def test_production_refuses() -> None:
    with pytest.raises(NotStarted, match="refused in production"):
        arm("consumer.before_commit", "production")


@pytest.mark.parametrize("specification", ["consumer.before_commit:0", "a:b", "a,,b", "a:1:2", "A"])
def test_what_cannot_be_read_is_one_sentence(specification: str) -> None:
    with pytest.raises(NotStarted, match="is not name or name:nth"):
        arm(specification, "test")


def test_a_place_waits_for_its_turn() -> None:
    arm("here:3", "test")
    failpoint("here")
    failpoint("here")
    failpoint("elsewhere")
    arm("", "test")
    failpoint("here")
