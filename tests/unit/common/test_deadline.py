"""A deadline that many share is the same as one of one's own."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from libs.common.deadline import Deadline

Future = asyncio.Future[str]


def never() -> Future:
    return asyncio.get_running_loop().create_future()


async def seconds_of(deadline: Deadline, future: Future) -> float:
    """Until TimeoutError."""
    began = monotonic()
    with pytest.raises(TimeoutError):
        await deadline.wait(future)
    return monotonic() - began


async def test_each_is_given_up_when_its_own_time_is_over() -> None:
    deadline = Deadline(0.05)
    first = asyncio.create_task(seconds_of(deadline, never()))
    await asyncio.wait([first], timeout=0.03)
    second = asyncio.create_task(seconds_of(deadline, never()))
    for seconds in await asyncio.gather(first, second):
        assert 0.045 < seconds < 1
    assert await seconds_of(deadline, never()) < 1, "and whoever comes later"


async def test_what_was_given_up_is_over_for_all() -> None:
    future = never()
    await seconds_of(Deadline(0.01), future)
    assert isinstance(future.exception(), TimeoutError)


async def test_what_comes_in_time_is_what_is_said() -> None:
    deadline = Deadline(0.02)
    future = never()
    waiting = asyncio.create_task(deadline.wait(future))
    await asyncio.sleep(0)
    future.set_result("here")
    assert await waiting == "here"
    await seconds_of(deadline, never())
    assert future.result() == "here"


async def test_what_is_there_already_is_not_waited_for() -> None:
    deadline = Deadline(0.01)
    future = never()
    future.set_result("here")
    assert await deadline.wait(future) == "here"


async def test_an_error_comes_out() -> None:
    future = never()
    future.set_exception(KeyError("mine"))
    with pytest.raises(KeyError, match="mine"):
        await Deadline(1).wait(future)


async def test_who_is_cancelled_gives_up_what_he_waits_for() -> None:
    future = never()
    waiting = asyncio.create_task(Deadline(0.01).wait(future))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert future.cancelled()
    await seconds_of(Deadline(0.02), never())  # the timer finds nothing to do
