"""What ingest says when it cannot take a request now, and the bounds on what it holds in memory."""

from __future__ import annotations

import asyncio
import random
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
KEY_SHARE = 2
"""One of so many parts of what may be held is for requests of a single key."""
HOLD_SECONDS = 1.0
"""On average: by half less or more, so that the connections of a flood do not come back all at once and, since their
bucket has filled a little, are all let in at once."""
HELD_AT_MOST = 1000

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


class InFlight:
    """The bytes of all requests in hand, bounded: of all together, and those of one key to a part of it."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._held_of_key: dict[str, int] = {}
        _held.set_function(lambda: self._held_bytes)

    def request(self, key_id: str = "") -> Share:
        """One request's share. Requests whose keys are not known yet are bounded as if they had one."""
        return Share(self, key_id)

    def take(self, key_id: str, count: int, own_bytes: int) -> None:
        """Raises Busy. Whoever takes outside of a request's share never gives back. A request that is the only one of
        its key, with ``own_bytes`` already, may be as large as requests may be."""
        of_key = self._held_of_key.get(key_id, 0)
        if self._held_bytes + count > self._limit_bytes:
            raise Busy("")
        if of_key > own_bytes and of_key + count > self._limit_bytes // KEY_SHARE:
            raise Busy(" of this write key")
        self._held_bytes += count
        self._held_of_key[key_id] = of_key + count

    def give_back(self, key_id: str, count: int) -> None:
        self._held_bytes -= count
        if left := self._held_of_key.get(key_id, 0) - count:
            self._held_of_key[key_id] = left
        else:
            self._held_of_key.pop(key_id, None)


class Share:
    """What one request holds, given back when the block ends. To enter it may raise Busy too."""

    def __init__(self, in_flight: InFlight, key_id: str) -> None:
        self._in_flight = in_flight
        self.key_id = key_id
        self.held_bytes = 0
        self._expected_bytes = 0

    def __enter__(self) -> Self:
        self.add(REQUEST_BYTES)
        return self

    def __exit__(self, *_: object) -> None:
        self._in_flight.give_back(self.key_id, self.held_bytes)

    def expect(self, body_bytes: int) -> None:
        """Of a known key's body that has been announced, all that it will take at once: of many that grow side by side
        none would come to its end. Raises Busy."""
        if self.key_id:
            self.add(body_bytes * BODY_TIMES)
            self._expected_bytes += body_bytes * BODY_TIMES

    def add(self, count: int) -> None:
        """Raises Busy."""
        expected = min(count, self._expected_bytes)
        self._in_flight.take(self.key_id, count - expected, self.held_bytes)
        self._expected_bytes -= expected
        self.held_bytes += count - expected

    def is_of(self, key_id: str) -> None:
        """Now that the key is known. Raises Busy."""
        if key_id != self.key_id:
            held, self.held_bytes = self.held_bytes, 0
            self._in_flight.give_back(self.key_id, held)
            self.key_id = key_id
            self.add(held)

    def add_events(self, body_bytes: int, events: int, surplus: int) -> None:
        """What a body of so many events becomes on its way into the log. Raises Busy."""
        self.add(body_bytes * (BODY_TIMES - 1) + events * EVENT_BYTES + surplus * SURPLUS_BYTES)


class Refusals:
    """Answers to those who sent too much, each held back for a moment: whoever comes again at once, as a flood does,
    comes once a second with each connection, and buys no CPU with what it is refused."""

    def __init__(self, seconds: float = HOLD_SECONDS, at_most: int = HELD_AT_MOST) -> None:
        """``at_most`` are held; further ones are answered at once."""
        self._seconds = seconds
        self._at_most = at_most
        self._count = 0
        _turned_away.set_function(lambda: self._count)

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
