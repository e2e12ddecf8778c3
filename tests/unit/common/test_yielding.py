"""Work that lets other work go first has its part of the time beside it, and all of it alone."""

from __future__ import annotations

import pytest

from libs.common.yielding import LIVELY_SECONDS, Yielding


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def history(time: Time) -> Yielding:
    return Yielding(3, time)


def test_alone_it_never_rests(history: Yielding) -> None:
    for _ in range(3):
        assert history.is_alone
        assert history.rests_for_seconds() == 0
        history.worked(10)


def test_beside_others_it_has_a_quarter_of_the_time(history: Yielding, time: Time) -> None:
    history.others_worked()
    began, worked = time.now, 0.0
    while time.now < began + 100:
        assert not history.is_alone
        if not history.rests_for_seconds():
            time.now += 0.5
            worked += 0.5
            history.worked(0.5)
        time.now += 0.01
        history.others_worked()
    assert worked == pytest.approx(25, abs=1)


def test_when_the_others_have_been_quiet_it_goes_on(history: Yielding, time: Time) -> None:
    history.others_worked()
    history.worked(100)
    assert history.rests_for_seconds() == 300
    time.now += LIVELY_SECONDS + 0.1
    assert history.is_alone
    assert history.rests_for_seconds() == 0
