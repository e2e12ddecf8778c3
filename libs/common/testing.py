"""What tests of several services share: waiting on conditions, never on time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

T = TypeVar("T")


async def eventually(probe: Callable[[], Awaitable[T]], *, within_seconds: float = 10, what: str = "condition") -> T:
    """Ask ``probe`` until its answer is truthy and return that. Raises AssertionError with the last answer."""
    deadline = monotonic() + within_seconds
    while True:
        answer = await probe()
        if answer:
            return answer
        if monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {within_seconds} s; last answer: {answer!r}")
        await asyncio.sleep(0.02)
