"""How soon one wave may follow another."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

LONGEST_SECONDS = 0.015
"""From one departure to the next."""
MANY = 16
"""Calls in a wave, after which the next one waits as long as that."""


class Tempo:
    """Few large waves cost much less than many small ones, but what is appended waits longer for them. So after a call
    alone the next wave goes at once, and the more calls share one, the longer it has to gather."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._next_at = now()

    def departed(self, calls: int) -> None:
        """With so many of them."""
        self._next_at = self._now() + LONGEST_SECONDS * min(1.0, (calls - 1) / (MANY - 1))

    def rest_seconds(self) -> float:
        """From now until the next wave may go."""
        return max(0.0, self._next_at - self._now())
