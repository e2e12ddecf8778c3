"""What ingest says when it cannot take a request now, and the bounds on what it holds in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from time import monotonic
from typing import Self

from starlette.types import Receive

from libs.common.errors import RetryLater
from libs.common.observability import REGISTRY, Gauge
from services.ingest.domain.documents import VALUES_LIMIT

REQUEST_BYTES = 16 * 1024
"""What a request costs besides its body, so that many small ones are bounded too."""
BODY_TIMES = 3
"""As much as its body takes a request of memory until it is in the log: as it came, judged, and as it is stored."""
EVENT_BYTES = 1536
"""What an event takes besides that, however small it is."""
SURPLUS_BYTES = 80
"""The same of an event that is refused unread, since its batch is too long."""
AHEAD_TIMES = 8
"""As much as has arrived of a body, there is room for at most."""
PART_SECONDS = 2.0
PARTS = 16
"""Of the room that it holds, a request brings one in so many seconds, or gives way to others when they need it."""
KEY_SHARE = 2
"""One of so many parts of what may be held is for requests of a single key."""
TIGHT_SHARE = 8
"""With more than one of so many parts held, nothing is kept in line: beside a line there is room in its key's share for
a body of 5 MB."""
HOLD_SECONDS = 1.0
"""On average: by half less or more, so that the connections of a flood do not come back all at once and, since their
bucket has filled a little, are all let in at once."""
HELD_AT_MOST = 1000
AT_ONCE_PER_S = 50
"""Refusals of those who need not be many: nobody who looks for a mistake should wait, and a flood of them should."""

_held = Gauge("kizashi_ingest_in_flight_bytes", "What the requests in hand take of memory", registry=REGISTRY)
_turned_away = Gauge("kizashi_ingest_held_refusals", "Refusals that are held back for a moment", registry=REGISTRY)


def most_of_a_request(body_bytes: int, events: int) -> int:
    """What the worst of requests takes, with a decoded body of this size of which so many events are judged."""
    values = min(body_bytes // 2, VALUES_LIMIT)
    return REQUEST_BYTES + body_bytes * BODY_TIMES + min(events, values) * EVENT_BYTES + values * SURPLUS_BYTES


class NotNow(RetryLater):
    """The request is fine and nothing of it was kept, or nobody knows: HTTP 503, the client sends all of it again."""

    def __init__(self, code: str, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_seconds = retry_after_seconds


class Busy(NotNow):
    """Too much is in hand already."""

    def __init__(self, whose: str) -> None:
        super().__init__("busy", f"Too many bytes{whose} are on their way through here just now; send this again.", 2)


class GaveWay(NotNow):
    """Others needed the room of a request that came slowly. Its connection ends, or it would go on being held."""

    def __init__(self) -> None:
        super().__init__("busy", "This request came slowly, and its room was needed for others; send it again.", 2)


class InFlight:
    """The bytes of all requests in hand, bounded: of all together, and those of one key to a part of it.

    Room is kept by filling it: when there is none left, whoever did not bring its part of a body lately gives way.
    So to hold others up takes as many bytes a second as it takes to send as much.
    """

    def __init__(self, limit_bytes: int, now: Callable[[], float] = monotonic) -> None:
        self._limit_bytes = limit_bytes
        self._now = now
        self._held_bytes = 0
        self._held_of_key: dict[str, int] = {}
        self._arriving: dict[Share, float] = {}
        """Since when each owes the next part of its body, the earliest first."""
        _held.set_function(lambda: self._held_bytes)

    def request(self, key_id: str = "") -> Share:
        """One request's share. Requests whose keys are not known yet are bounded as if they had one."""
        return Share(self, key_id)

    def is_tight(self) -> bool:
        """Whether what is in hand should go on at once, to make room."""
        return self._held_bytes > self._limit_bytes // TIGHT_SHARE

    def take(self, share: Share, count: int) -> None:
        """Raises Busy. A request that is the only one of its key may be as large as requests may be."""
        of_key = self._held_of_key.get(share.key_id, 0)
        if of_key > share.held_bytes:
            too_many = of_key + count - self._limit_bytes // KEY_SHARE
            if too_many > 0 and not self._has_made_room(too_many, share, share.key_id):
                raise Busy(" of this write key")
        too_many = self._held_bytes + count - self._limit_bytes
        if too_many > 0 and not self._has_made_room(too_many, share):
            raise Busy("")
        self._held_bytes += count
        self._held_of_key[share.key_id] = self._held_of_key.get(share.key_id, 0) + count

    def give_back(self, key_id: str, count: int) -> None:
        self._held_bytes -= count
        if left := self._held_of_key.get(key_id, 0) - count:
            self._held_of_key[key_id] = left
        else:
            self._held_of_key.pop(key_id, None)

    def brings(self, share: Share) -> None:
        """A part of its body; from now on it owes the next."""
        self._arriving.pop(share, None)
        self._arriving[share] = self._now()

    def has_arrived(self, share: Share) -> None:
        self._arriving.pop(share, None)

    def _has_made_room(self, count: int, asking: Share, key_id: str | None = None) -> bool:
        """Of the slow ones, of that key or of all; none goes when all of them would not be enough."""
        slow = []
        long_ago = self._now() - PART_SECONDS
        for share, since in self._arriving.items():
            if since > long_ago:
                return False
            if share is not asking and key_id in (None, share.key_id):
                slow.append(share)
                count -= share.held_bytes
                if count <= 0:
                    break
        else:
            return False
        for share in slow:
            share.give_way()
        return True


class Share:
    """What one request holds, given back when the block ends. To enter it may raise Busy too."""

    def __init__(self, in_flight: InFlight, key_id: str) -> None:
        self._in_flight = in_flight
        self.key_id = key_id
        self.held_bytes = 0
        self.gave_way = False
        self._cut_off: Callable[[], None] | None = None
        """While its body arrives."""
        self._announced_bytes = 0
        self._brought_bytes = 0
        """With the last part."""

    def __enter__(self) -> Self:
        self.add(REQUEST_BYTES)
        return self

    def __exit__(self, *_: object) -> None:
        self._in_flight.give_back(self.key_id, self.held_bytes)

    def add(self, count: int) -> None:
        """Raises Busy."""
        self._in_flight.take(self, count)
        self.held_bytes += count

    def is_of(self, key_id: str) -> None:
        """Now that the key is known. Raises Busy."""
        if key_id != self.key_id:
            held, self.held_bytes = self.held_bytes, 0
            self._in_flight.give_back(self.key_id, held)
            self.key_id = key_id
            self.add(held)

    # --- while the body arrives ---

    def arrives(self, announced_bytes: int, cut_off: Callable[[], None]) -> None:
        """``cut_off`` ends the reading, when this has to give way."""
        self._announced_bytes = announced_bytes
        self._cut_off = cut_off
        self._in_flight.brings(self)

    def grow(self, arrived_bytes: int, decoded_bytes: int) -> None:
        """To that much of a body. Raises Busy.

        Of a known key there is soon room for all of what is announced, and all that it will take: of many that grow
        side by side to the end, none would come to it.
        """
        ahead = min(self._announced_bytes, arrived_bytes * AHEAD_TIMES) * BODY_TIMES if self.key_id else 0
        self._hold(max(ahead, decoded_bytes))
        if self._cut_off and (arrived_bytes - self._brought_bytes) * PARTS >= self.held_bytes:
            self._brought_bytes = arrived_bytes
            self._in_flight.brings(self)

    def has_arrived(self) -> None:
        self._cut_off = None
        self._in_flight.has_arrived(self)

    def give_way(self) -> None:
        assert self._cut_off is not None, "only who arrives is asked to"
        self._cut_off()
        self.has_arrived()
        self.gave_way = True
        held, self.held_bytes = self.held_bytes, 0
        self._in_flight.give_back(self.key_id, held)

    # --- when it is here ---

    def add_events(self, body_bytes: int, events: int, surplus: int) -> None:
        """What a body of so many events becomes on its way into the log. Raises Busy."""
        self._hold(body_bytes * BODY_TIMES + events * EVENT_BYTES + surplus * SURPLUS_BYTES)

    def _hold(self, count: int) -> None:
        """So much besides the request itself, or what is held already when that is more."""
        if (more := REQUEST_BYTES + count - self.held_bytes) > 0:
            self.add(more)


class Refusals:
    """Answers that are held back for a moment: whoever comes again at once, as a flood does, comes once a second with
    each connection, and buys no CPU with what it is refused."""

    def __init__(
        self,
        seconds: float = HOLD_SECONDS,
        at_most: int = HELD_AT_MOST,
        at_once_per_s: int = AT_ONCE_PER_S,
        now: Callable[[], float] = monotonic,
    ) -> None:
        """``at_most`` are held; further ones are answered at once."""
        self._seconds = seconds
        self._at_most = at_most
        self._at_once_per_s = at_once_per_s
        self._now = now
        self._count = 0
        self._second = self._in_this_second = 0
        _turned_away.set_function(lambda: self._count)

    def are_few(self) -> bool:
        """Counts one more, and says whether it can be answered at once."""
        second = int(self._now())
        if second != self._second:
            self._second, self._in_this_second = second, 0
        self._in_this_second += 1
        return self._in_this_second <= self._at_once_per_s

    async def hold(self, receive: Receive) -> bool:
        """What arrives of the body meanwhile is thrown away. False when the client left."""
        if self._count >= self._at_most:
            return True
        self._count += 1
        try:
            async with asyncio.timeout(self._seconds * random.uniform(0.5, 1.5)):  # noqa: S311 - no secret
                while (await receive())["type"] != "http.disconnect":
                    pass
        except TimeoutError:
            return True
        finally:
            self._count -= 1
        return False
