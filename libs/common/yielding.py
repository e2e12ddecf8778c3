"""Work that can wait, beside work that cannot: it takes what the other leaves, and never nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic

LIVELY_SECONDS = 5.0
RESTS_FOR = 9.0
"""A tenth of the time: what comes meanwhile waits as much longer, and no more than that."""


class Yielding:
    """While there was other work within the last seconds, this rests for ``rests_for`` times as long as it took, so it
    takes its part of the time and no more. Beside nothing it goes on at once."""

    def __init__(self, rests_for: float = RESTS_FOR, now: Callable[[], float] = monotonic) -> None:
        self._rests_for = rests_for
        self._now = now
        self._others_at = -math.inf
        self._rests_until = -math.inf

    @property
    def is_alone(self) -> bool:
        """So it may take as much at once as it likes."""
        return self._now() - self._others_at > LIVELY_SECONDS

    def others_worked(self) -> None:
        self._others_at = self._now()

    def worked(self, seconds: float) -> None:
        self._rests_until = self._now() + seconds * self._rests_for

    def rests_for_seconds(self) -> float:
        """From now on; 0 when it may work."""
        return 0.0 if self.is_alone else max(0.0, self._rests_until - self._now())
