"""A settled process still frees its cycles, and leaves alone what it held before."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from libs.common.garbage import YOUNG_OBJECTS, settle_down


class Knot:
    """Holds itself."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_cycles_are_freed_without_being_asked_for() -> None:
    settle_down()
    watched = weakref.ref(Knot())

    held = [[n] for n in range(2 * YOUNG_OBJECTS)]

    assert held
    assert watched() is None


def test_what_lived_before_is_not_looked_at_again() -> None:
    before = [[n] for n in range(1000)]

    settle_down()

    assert before
    assert gc.get_freeze_count() >= 1000
