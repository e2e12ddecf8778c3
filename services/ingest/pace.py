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

PIECES_PER_S = 20
SLOWEST_EVENTS_PER_S = 2000
"""For a smaller quota too: that much at once is no lump."""
UNPACED_EVENTS = 200
"""In a piece where there is no quota: so what is sent live waits for no long transaction of an import."""

T = TypeVar("T")
Now = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]


class Pace:
    """All requests of one write key take turns in it. ``events_per_s`` is the key's quota, 0 for none: then as fast as
    the log takes it.

    A request by itself takes a second at most, and so does what can be ahead of it, as much as a full bucket lets in:
    together less than half of the time in which ingest decides.
    """

    def __init__(self, events_per_s: int = 0, now: Now = monotonic, sleep: Sleep = asyncio.sleep) -> None:
        self.events_per_s = events_per_s
        self._now = now
        self._sleep = sleep
        self._free_at = -math.inf

    async def send(self, events: Sequence[T], send: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        """Call ``send`` with piece after piece. A log that is slower than the pace sets it."""
        if self.events_per_s:
            rate: float = max(self.events_per_s, SLOWEST_EVENTS_PER_S, len(events))
            size = math.ceil(rate / PIECES_PER_S)
        else:
            rate, size = math.inf, UNPACED_EVENTS
        for begin in range(0, len(events), size):
            some = events[begin : begin + size]
            await self._turn(len(some) / rate)
            await send(some)

    async def _turn(self, seconds: float) -> None:
        now = self._now()
        begin = max(self._free_at, now)
        self._free_at = begin + seconds
        # A slot's small requests go together, in one append. Rounded, for a sum of many parts that should be one.
        slot = math.floor(round(begin * PIECES_PER_S, 3)) / PIECES_PER_S
        if slot > now:
            await self._sleep(slot - now)


UNPACED = Pace()
