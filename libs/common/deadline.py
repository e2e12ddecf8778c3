"""A deadline for what is waited for thousands of times a second: all who wait share one timer."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")


class Deadline:
    """``await deadline.wait(future)`` raises TimeoutError after ``seconds``, as ``asyncio.timeout`` does at many times
    the cost. The future is over then, too: it fails with the same."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._ends: dict[asyncio.Future[Any], float] = {}
        """Of those that are waited for, in the order in which their time is over."""
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, future: asyncio.Future[T]) -> T:
        self._ends[future] = monotonic() + self.seconds
        if self._timer is None:
            self._timer = future.get_loop().call_later(self.seconds, self._look)
        try:
            return await future
        finally:
            self._ends.pop(future, None)

    def _look(self) -> None:
        """Fail those whose time is over, and come again for the first of the others."""
        self._timer = None
        now = monotonic()
        while self._ends:
            future, end = next(iter(self._ends.items()))
            if end > now:
                self._timer = future.get_loop().call_later(end - now, self._look)
                return
            del self._ends[future]
            if not future.done():
                future.set_exception(TimeoutError())
