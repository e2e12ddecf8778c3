"""A lease on one delivery: the right to speak, until a moment of the monotonic clock."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class LeaseRanOut(Exception):
    """Too late to speak: somebody else may be settling this delivery by now."""


class Lease:
    """Begun before the claim is committed, so it ends no later than what the ledger says.

    A process that was frozen in between wakes up with an old lease and finds out in ``leave``.
    """

    def __init__(self, seconds: float, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._deadline = now() + seconds
        self.left = False
        """Whether something may have left the house: only then can an outcome be unknown."""

    def leave(self) -> None:
        """To be called with nothing but the write between it and the network. Raises LeaseRanOut.

        What remains is a freeze within those few instructions, which no clock on this side can see.
        """
        self.check()
        self.left = True

    def check(self) -> None:
        """Raises LeaseRanOut when it did before anything left."""
        if not self.left and self._now() >= self._deadline:
            raise LeaseRanOut
