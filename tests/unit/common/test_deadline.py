"""A deadline that many share is the same as one of one's own, and nothing is kept for those who heard why not."""

from __future__ import annotations

import asyncio
import gc
import weakref
from time import monotonic

import pytest

from libs.common.deadline import Deadline, Outcome, tell
from libs.common.errors import RetryLater


def nothing_yet() -> Outcome:
    return asyncio.get_running_loop().create_future()


def deadline_of(seconds: float) -> Deadline:
    return Deadline(seconds, "too late")


async def seconds_of(deadline: Deadline, outcome: Outcome) -> float:
    """Until it is too late."""
    began = monotonic()
    with pytest.raises(RetryLater, match="too late"):
        await deadline.wait(outcome)
    return monotonic() - began


async def test_each_is_given_up_when_its_own_time_is_over() -> None:
    deadline = deadline_of(0.05)
    first = asyncio.create_task(seconds_of(deadline, nothing_yet()))
    await asyncio.wait([first], timeout=0.03)
    second = asyncio.create_task(seconds_of(deadline, nothing_yet()))
    for seconds in await asyncio.gather(first, second):
        assert 0.045 < seconds < 1
    assert await seconds_of(deadline, nothing_yet()) < 1, "and whoever comes later"


async def test_what_was_given_up_stays_so() -> None:
    outcome = nothing_yet()
    await seconds_of(deadline_of(0.01), outcome)
    tell(outcome)
    assert isinstance(outcome.result(), RetryLater)


async def test_who_hears_in_time_is_left_alone() -> None:
    deadline = deadline_of(0.02)
    outcome = nothing_yet()
    waiting = asyncio.create_task(deadline.wait(outcome))
    await asyncio.sleep(0)
    tell(outcome)
    await waiting
    await seconds_of(deadline, nothing_yet())
    assert outcome.result() is None


async def test_what_is_told_already_is_not_waited_for() -> None:
    outcome = nothing_yet()
    tell(outcome)
    await deadline_of(0.01).wait(outcome)


@pytest.mark.parametrize("why_not", [RetryLater("the broker sleeps"), KeyError("a defect")])
async def test_why_not_comes_out(why_not: Exception) -> None:
    outcome = nothing_yet()
    tell(outcome, why_not)
    with pytest.raises(type(why_not), match=str(why_not)):
        await deadline_of(1).wait(outcome)


async def test_who_is_cancelled_gives_up_what_he_waits_for() -> None:
    outcome = nothing_yet()
    waiting = asyncio.create_task(deadline_of(0.01).wait(outcome))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert outcome.cancelled()
    await seconds_of(deadline_of(0.02), nothing_yet())  # the timer finds nothing to do


class Records:
    """What a caller has in hand."""


async def test_nothing_is_kept_of_who_came_too_late_while_others_still_hold_the_outcome() -> None:
    outcome = nothing_yet()

    async def call(deadline: Deadline) -> weakref.ref[Records]:
        records = Records()
        try:
            await deadline.wait(outcome)
        except RetryLater:
            return weakref.ref(records)
        raise AssertionError("nobody told it anything")

    gc.disable()
    try:
        assert (await call(deadline_of(0.01)))() is None
        assert isinstance(outcome.result(), RetryLater)
        assert (await call(deadline_of(0.01)))() is None, "nor of the next whom the same is told"
    finally:
        gc.enable()
