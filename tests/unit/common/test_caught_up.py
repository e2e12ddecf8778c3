"""``caught_up_to`` never claims more than was processed, and does not stand still under constant traffic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from libs.common.caught_up import MARKS_KEPT, Marks
from libs.common.event_log import TopicPartition
from libs.common.topics import Topic

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ONE, OTHER = TopicPartition(Topic.TELEMETRY, 0), TopicPartition(Topic.TELEMETRY, 1)
HISTORY = TopicPartition(Topic.TELEMETRY_IMPORT, 0)


def at(tick: int) -> datetime:
    return START + timedelta(seconds=tick)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=400))
def test_a_moment_is_passed_only_when_all_that_was_accepted_by_then_is_behind_us(
    steps: list[tuple[int, int, int]],
) -> None:
    """Each step: so many records arrive, the log is asked, so many of each partition are processed."""
    marks = Marks()
    end = 0
    positions = {ONE: 0, OTHER: 0}
    accepted_by: list[int] = []
    for tick, (arrive, first, second) in enumerate(steps):
        end += arrive
        accepted_by.append(end)
        marks.add(at(tick), {ONE: end, OTHER: end})
        positions = {ONE: min(end, positions[ONE] + first), OTHER: min(end, positions[OTHER] + second)}
        for source, moment in marks.passed(positions).items():
            assert accepted_by[round((moment - START).total_seconds())] <= positions[source]


def test_a_reader_that_is_always_behind_still_comes_forward() -> None:
    """A constant lag of a thousand turns: the end of the log is never reached, its earlier ends are."""
    marks = Marks()
    behind = 1000
    worst = 0.0
    for tick in range(5000):
        marks.add(at(tick), {ONE: tick})
        passed = marks.passed({ONE: tick - behind})
        if tick > behind:
            worst = max(worst, (at(tick - behind) - passed[ONE]).total_seconds())
    assert worst <= behind / 30


def test_a_reader_that_was_away_for_long_is_exact_once_it_is_there() -> None:
    marks = Marks()
    for tick in range(100_000):
        marks.add(at(tick), {ONE: 1_000_000 + tick})
    for tick in range(100_000, 100_020):
        marks.add(at(tick), {ONE: 1_000_000 + tick})
        passed = marks.passed({ONE: 1_000_000 + tick})
        assert passed == {ONE: at(tick)}


def test_time_comes_in_small_steps_in_a_topic_although_another_is_far_behind() -> None:
    """A backfill of hours. The live topic is never quite at its end; it is a turn behind, and no more."""
    marks = Marks()
    for tick in range(20_000):
        marks.add(at(tick), {ONE: tick, HISTORY: 1_000_000 + tick})
        passed = marks.passed({ONE: tick - 1, HISTORY: tick})
        if tick > 1:
            assert passed == {ONE: at(tick - 1)}


def test_what_is_remembered_is_bounded_and_nothing_is_once_everybody_is_there() -> None:
    marks = Marks()
    for tick in range(10_000):
        marks.add(at(tick), {ONE: tick + 1})
        assert len(marks) <= MARKS_KEPT
    assert marks.passed({ONE: 10_000}) == {ONE: at(9_999)}
    assert len(marks) == 1


def test_a_clock_that_steps_back_adds_nothing() -> None:
    marks = Marks()
    marks.add(at(10), {ONE: 1})
    marks.add(at(5), {ONE: 2})
    assert marks.passed({ONE: 1}) == {ONE: at(10)}


def test_a_partition_that_somebody_else_brings_is_judged_by_the_same_marks() -> None:
    marks = Marks()
    marks.add(at(1), {ONE: 5, OTHER: 7})
    assert marks.passed({ONE: 5}) == {ONE: at(1)}
    assert marks.passed({ONE: 5, OTHER: 6}) == {ONE: at(1)}
    assert marks.passed({ONE: 5, OTHER: 7}) == {ONE: at(1), OTHER: at(1)}
