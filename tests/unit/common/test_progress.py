"""What restarts a consumer's process, what only makes it unready, and what does neither."""

from __future__ import annotations

import pytest

from libs.common.event_log import TopicPartition
from libs.common.progress import Patience, Progress
from libs.common.topics import Topic

ONE, TWO = TopicPartition(Topic.TELEMETRY, 1), TopicPartition(Topic.TELEMETRY, 2)
OLD = 1000.0
"""Seconds after its start at which a process is spared no more."""


class Story:
    """A process whose loop turns and whose looks are answered, told second by second."""

    def __init__(self, at: float = OLD) -> None:
        self.time = 0.0
        self.progress = Progress(Patience(), lambda: self.time)
        self.time = at
        self.progress.turned()

    def goes_on(
        self,
        seconds: int,
        *,
        waiting: dict[TopicPartition, int] | None = None,
        delivers: tuple[TopicPartition, ...] = (),
        moves: bool = False,
        idle: bool = False,
        stopped: tuple[TopicPartition, ...] = (),
        answers: bool = True,
    ) -> None:
        for second in range(seconds):
            self.time += 1
            self.progress.turned()
            if second % 5 == 0:
                self.progress.asks()
                if answers:
                    self.progress.answered(waiting or {ONE: 0, TWO: 0}, stopped)
                else:
                    self.progress.excused()
            for source in delivers:
                self.progress.delivered(source)
            if moves:
                self.progress.moved()
            if idle:
                self.progress.idle()

    def is_fine(self) -> bool:
        return self.progress.not_live() is None and self.progress.not_ready() is None


def test_a_process_with_nothing_to_do_is_fine() -> None:
    story = Story()
    story.goes_on(3600, idle=True)
    assert story.is_fine()


def test_one_that_works_off_a_backlog_is_fine_however_long_that_takes() -> None:
    story = Story()
    story.goes_on(3600, waiting={ONE: 1000, TWO: 1000}, delivers=(ONE, TWO), moves=True)
    assert story.is_fine()


def test_a_loop_that_does_not_turn_is_not_live_at_any_age() -> None:
    story = Story(at=1)
    story.time += 60
    assert story.progress.not_live() is None
    story.time += 1
    assert story.progress.not_live() == "the consumer has not turned for 61 s"


# --- a partition of which the log hands out nothing ---


@pytest.mark.parametrize("others", ["there is nothing else", "the others are busy"])
def test_a_partition_that_the_log_forgets_is_a_reason_to_start_again(others: str) -> None:
    story = Story()
    if others == "there is nothing else":
        story.goes_on(60, waiting={ONE: 5, TWO: 0}, idle=True)
        assert story.is_fine()
        story.goes_on(63, waiting={ONE: 5, TWO: 0}, idle=True)
    else:
        story.goes_on(60, waiting={ONE: 5, TWO: 9}, delivers=(TWO,), moves=True)
        assert story.is_fine()
        story.goes_on(3, waiting={ONE: 5, TWO: 9}, delivers=(TWO,), moves=True)
    assert "records wait in telemetry/1, and the event log has handed out none for" in (story.progress.not_live() or "")


def test_one_that_waits_for_its_turn_is_not_forgotten() -> None:
    """The others' batches are slow."""
    story = Story()
    for _ in range(4):
        story.progress.delivered(TWO)
        story.goes_on(50, waiting={ONE: 5, TWO: 9}, moves=True)
    assert story.is_fine()


def test_who_is_young_is_only_unready_so_that_a_restart_that_does_not_help_is_not_repeated() -> None:
    story = Story(at=1)
    story.goes_on(200, waiting={ONE: 5, TWO: 0}, idle=True)
    assert story.progress.not_live() is None
    assert "has handed out none" in (story.progress.not_ready() or "")
    story.goes_on(400, waiting={ONE: 5, TWO: 0}, idle=True)
    assert "has handed out none" in (story.progress.not_live() or "")
    assert story.progress.not_ready() is None  # said once


# --- no position moves ---


def test_batches_that_never_end_well_are_a_reason_to_start_again() -> None:
    story = Story()
    story.goes_on(120, waiting={ONE: 5, TWO: 5}, delivers=(ONE, TWO))
    assert story.is_fine()
    story.goes_on(3, waiting={ONE: 5, TWO: 5}, delivers=(ONE, TWO))
    assert story.progress.not_live() == "records wait, and no position has moved for 122 s"
    story.progress.moved()
    assert story.is_fine()


def test_the_time_of_waiting_begins_when_something_waits() -> None:
    story = Story()
    story.goes_on(3600, idle=True)
    story.goes_on(10, waiting={ONE: 1, TWO: 0})
    assert story.is_fine()


def test_a_partition_that_is_stopped_is_a_persons_business_and_no_restarts() -> None:
    story = Story()
    story.goes_on(3600, waiting={ONE: 5, TWO: 0}, idle=True, stopped=(ONE,))
    assert story.is_fine()


# --- the world ---


def test_a_silent_log_makes_unready_within_seconds_and_restarts_nothing() -> None:
    story = Story()
    story.goes_on(20, waiting={ONE: 5, TWO: 5}, moves=True, delivers=(ONE, TWO))
    story.goes_on(5, answers=False)
    assert story.progress.not_ready() == "the event log has not answered for 4 s"
    story.goes_on(3600, answers=False, idle=True)
    assert story.progress.not_live() is None
    story.goes_on(1, waiting={ONE: 5, TWO: 5})
    assert story.is_fine()


def test_a_database_that_does_not_answer_is_no_ones_fault() -> None:
    story = Story()
    for _ in range(600):
        story.goes_on(5, waiting={ONE: 5, TWO: 5}, delivers=(ONE, TWO))
        story.progress.excused()
    assert story.is_fine()
    story.goes_on(126, waiting={ONE: 5, TWO: 5}, delivers=(ONE, TWO))
    assert story.progress.not_live() is not None
