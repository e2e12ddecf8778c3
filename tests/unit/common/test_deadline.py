"""A deadline that many share is the same as one of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import pytest

from libs.common.deadline import Deadline


async def forever() -> None:
    await asyncio.Event().wait()


async def within(deadline: Deadline, work: Callable[[], Awaitable[object]]) -> float:
    """Seconds until TimeoutError."""
    began = monotonic()
    with pytest.raises(TimeoutError), deadline:
        await work()
    return monotonic() - began


async def test_each_is_cut_off_when_its_own_time_is_over() -> None:
    deadline = Deadline(0.05)
    first = asyncio.create_task(within(deadline, forever))
    await asyncio.wait([first], timeout=0.03)
    second = asyncio.create_task(within(deadline, forever))
    for seconds in await asyncio.gather(first, second):
        assert 0.045 < seconds < 1
    assert await within(deadline, forever) < 1, "and whoever comes later"


async def test_a_task_can_be_cut_off_before_its_time() -> None:
    deadline = Deadline(3600)
    first, second = (asyncio.create_task(within(deadline, forever)) for _ in range(2))
    await asyncio.sleep(0)
    deadline.cut_off(first)
    assert await first < 1
    deadline.cut_off(first)
    assert not second.done()
    deadline.cut_off(second)
    assert await second < 1


async def test_who_is_done_in_time_is_left_alone() -> None:
    deadline = Deadline(0.02)
    for _ in range(3):
        with deadline:
            await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(forever(), 0.05)
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_what_is_raised_within_comes_out() -> None:
    with pytest.raises(KeyError), Deadline(1):
        raise KeyError("mine")


async def test_somebody_elses_cancellation_stays_one() -> None:
    deadline = Deadline(10)

    async def work() -> None:
        with deadline:
            await forever()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_cleans_up_while_cancelled_is_cut_off_all_the_same() -> None:
    deadline = Deadline(0.02)

    async def work() -> float:
        try:
            await forever()
        finally:
            seconds = await within(deadline, forever)
        return seconds

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
