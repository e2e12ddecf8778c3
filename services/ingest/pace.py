"""The pace at which history goes to the event log: evenly, in small pieces, whatever lumps it comes in.

An import that goes as fast as its quota allows comes as a lump each second, and a live call that comes together with
such a lump shares processors and log with it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import TypeVar

PIECE_EVENTS = 200
"""Appended at once: so what is sent live waits for no long transaction of an import."""
SLOTS_PER_S = 10
"""What is due within a slot goes when that begins, so small requests go together, in one append."""
SLOWEST_EVENTS_PER_S = 2000
"""For a smaller quota too: that much at once is no lump."""
LINE_SECONDS = 1.0
"""That a request waits for its beginning at most, and that it takes from there."""

T = TypeVar("T")
Now = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class Pace:
    """Requests of one write key, one after another. ``events_per_s`` is the key's quota, 0 for none: then as fast as
    the log takes it. When ``must_hurry``, nobody waits.

    However many stand in line, as after an outage of the log, a request waits for LINE_SECONDS at most, and then takes
    as much at most: a line that makes requests miss their deadline would never end, since all of them come again.
    """

    def __init__(
        self,
        events_per_s: int = 0,
        must_hurry: Callable[[], bool] = lambda: False,
        now: Now = monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.events_per_s = events_per_s
        self._must_hurry = must_hurry
        self._now = now
        self._sleep = sleep
        self._free_at = -math.inf

    async def send(
        self, events: Sequence[T], within_seconds: float, send: Callable[[Sequence[T]], Awaitable[None]]
    ) -> None:
        """Call ``send`` with piece after piece, and wait for less than ``within_seconds`` in between. A log that is
        slower than the pace sets it."""
        longest = min(LINE_SECONDS, within_seconds / 2)
        now = self._now()
        rate = max(self.events_per_s, SLOWEST_EVENTS_PER_S, len(events) / longest) if self.events_per_s else math.inf
        begin = min(max(self._free_at, now), now + longest)
        self._free_at = begin + len(events) / rate
        for first in range(0, len(events), PIECE_EVENTS):
            await self._until(begin + first / rate)
            await send(events[first : first + PIECE_EVENTS])

    async def _until(self, moment: float) -> None:
        # Rounded, for a sum of many parts that should be a slot's beginning.
        slot = math.floor(round(moment * SLOTS_PER_S, 3)) / SLOTS_PER_S
        while (wait := slot - self._now()) > 0 and not self._must_hurry():
            await self._sleep(min(wait, 1 / SLOTS_PER_S))


UNPACED = Pace()
