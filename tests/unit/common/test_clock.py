"""Declared time: never backwards, never ahead of real time, and back to real time by the inverse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.clock import Declaration, DeclaredClock, WallClock, wall_now
from libs.common.errors import NotStarted

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
A_DAY_IN_TWO_SECONDS = 43_200.0

seconds = st.floats(0, 10 * 365 * 86_400, allow_nan=False)
declarations = st.builds(
    lambda behind, rate: Declaration(NOW, NOW - timedelta(seconds=behind), rate),
    behind=st.floats(0, 90 * 86_400),
    rate=st.just(0.0) | st.floats(0.1, 100_000),
)


@given(declarations, seconds, seconds)
def test_domain_time_never_runs_backwards_nor_ahead(declaration: Declaration, one: float, more: float) -> None:
    earlier, later = NOW + timedelta(seconds=one), NOW + timedelta(seconds=one + more)
    assert declaration.domain_time(earlier) <= declaration.domain_time(later)
    assert declaration.domain_time(later) <= later


@given(declarations, seconds)
def test_the_real_time_of_a_moment_is_when_the_clock_showed_it(declaration: Declaration, passed: float) -> None:
    moment = declaration.domain_time(NOW + timedelta(seconds=passed))
    shown = declaration.domain_time(declaration.wall_time(moment))
    # Real time counts in microseconds, so domain time comes in steps of as many as it is faster.
    assert abs(shown - moment) <= timedelta(microseconds=2 * max(declaration.rate, 1))


def test_an_accelerated_clock_arrives_at_now_and_then_is_the_real_clock() -> None:
    declaration = Declaration(NOW, NOW - timedelta(days=30), A_DAY_IN_TWO_SECONDS)
    assert declaration.domain_time(NOW) == NOW - timedelta(days=30)
    assert declaration.domain_time(NOW + timedelta(seconds=2)) == NOW - timedelta(days=29)
    for later in (timedelta(seconds=61), timedelta(days=1), timedelta(days=3650)):
        assert declaration.domain_time(NOW + later) == NOW + later
        assert declaration.wall_time(NOW + later) == NOW + later


def test_a_clock_stands_still_where_it_may_not_go_on() -> None:
    declaration = Declaration(NOW, NOW - timedelta(days=30), A_DAY_IN_TWO_SECONDS, until=NOW - timedelta(days=29))
    assert declaration.domain_time(NOW + timedelta(seconds=1)) == NOW - timedelta(days=29, hours=12)
    for later in (timedelta(seconds=3), timedelta(days=100)):
        assert declaration.domain_time(NOW + later) == NOW - timedelta(days=29)


def test_what_is_declared_is_read_back(tmp_path: Path) -> None:
    for until in (None, NOW):
        declaration = Declaration(NOW, NOW - timedelta(days=30), A_DAY_IN_TWO_SECONDS, until)
        declaration.write(tmp_path / "clock.json")
        assert Declaration.read(tmp_path / "clock.json") == declaration


def test_moments_long_before_the_demo_have_a_real_time() -> None:
    declaration = Declaration(NOW, NOW - timedelta(days=30), A_DAY_IN_TWO_SECONDS)
    assert declaration.wall_time(NOW - timedelta(days=120)) == NOW - timedelta(seconds=180)


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_time_that_runs_backwards_or_nowhere_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        Declaration(NOW, NOW, rate)


def test_processes_share_a_clock_through_its_file(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    Declaration(wall_now(), NOW - timedelta(days=30), 0).write(path)
    clock = DeclaredClock(path)
    assert clock.now() == clock.now() == NOW - timedelta(days=30)
    Declaration(wall_now(), NOW - timedelta(days=20), 0).write(path)
    assert clock.now() == NOW - timedelta(days=20)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"wall_anchor": "2026-03-02T09:00:00+00:00"}',
        '{"wall_anchor": "2026-03-02T09:00:00", "domain_anchor": "2026-03-02T09:00:00", "rate": 1}',
        '{"wall_anchor": "2026-03-02T09:00:00+00:00", "domain_anchor": "2026-03-02T09:00:00+00:00", "rate": -1}',
    ],
)
def test_a_broken_file_is_one_sentence_for_the_operator(tmp_path: Path, content: str) -> None:
    path = tmp_path / "clock.json"
    path.write_text(content)
    with pytest.raises(NotStarted, match=r"clock\.json cannot be read"):
        DeclaredClock(path)


def test_real_time_is_its_own_real_time() -> None:
    assert WallClock().wall_time_of(NOW) == NOW
    assert abs(WallClock().now() - wall_now()) < timedelta(seconds=5)
