"""What became of something that thousands a second wait for, and until when they do: all of them share one timer."""

from __future__ import annotations

import asyncio
from time import monotonic

from libs.common.errors import RetryLater

Outcome = asyncio.Future[Exception | None]
"""None: it was done; else why it was not. As a result, since an exception that was raised out of a future would hold
the frames of all whom it was told, with all that they had in hand, and they the future."""


def tell(outcome: Outcome, why_not: Exception | None = None) -> None:
    """The first word counts."""
    if not outcome.done():
        outcome.set_result(why_not)


class Deadline:
    """``await deadline.wait(outcome)`` returns when it was done, and raises why it was not, or RetryLater with ``late``
    after ``seconds``; then that is its outcome. The like of ``asyncio.timeout`` costs several times as much."""

    def __init__(self, seconds: float, late: str) -> None:
        self._seconds = seconds
        self._late = late
        self._ends: dict[Outcome, float] = {}
        """Of those that are waited for, in the order in which their time is over."""
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, outcome: Outcome) -> None:
        self._ends[outcome] = monotonic() + self._seconds
        if self._timer is None:
            self._timer = outcome.get_loop().call_later(self._seconds, self._look)
        try:
            why_not = await outcome
        finally:
            self._ends.pop(outcome, None)
        if isinstance(why_not, RetryLater):
            raise RetryLater(str(why_not))  # one of its own, for the same reason
        if why_not is not None:
            raise why_not

    def _look(self) -> None:
        """Tell those whose time is over, and come again for the first of the others."""
        self._timer = None
        now = monotonic()
        while self._ends:
            outcome, end = next(iter(self._ends.items()))
            if end > now:
                self._timer = outcome.get_loop().call_later(end - now, self._look)
                return
            del self._ends[outcome]
            tell(outcome, RetryLater(self._late))
