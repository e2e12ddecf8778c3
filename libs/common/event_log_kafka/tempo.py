"""How soon one wave may follow another."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

LONGEST_SECONDS = 0.015
"""From one departure to the next."""
MANY_CALLS = 16
MUCH = 2_000
"""Records."""


class Tempo:
    """Few large waves cost much less than many small ones, but what is appended waits longer for them. So after a call
    alone the next goes at once, as it does after a wave that carried much, which has paid for itself; and the more
    small calls shared one, the longer the next has to gather."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._next_at = now()

    def departed(self, calls: int, records: int) -> None:
        """With so many of them."""
        shared = min(1.0, (calls - 1) / (MANY_CALLS - 1))
        empty = max(0.0, 1 - records / MUCH)
        self._next_at = self._now() + LONGEST_SECONDS * shared * empty

    def rest_seconds(self) -> float:
        """From now until the next wave may go."""
        return max(0.0, self._next_at - self._now())
