"""What ingest says when it cannot take a request now, and the bound on what it holds in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from libs.common.errors import RetryLater
from libs.common.observability import REGISTRY, Gauge

REQUEST_BYTES = 16 * 1024
"""What a request costs besides its body, so that many small ones are bounded too."""

_held = Gauge("kizashi_ingest_in_flight_bytes", "Bodies of the requests in hand", registry=REGISTRY)


class NotNow(RetryLater):
    """The request is fine and nothing of it was kept, or nobody knows: HTTP 503, the client sends all of it again."""

    def __init__(self, code: str, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_seconds = retry_after_seconds


class InFlight:
    """The bytes of all requests in hand, bounded."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        _held.set_function(lambda: self._held_bytes)

    @contextmanager
    def request(self) -> Iterator[Share]:
        """One request's share, given back at the end. Raises NotNow, as every ``add`` to it may."""
        share = Share(self)
        try:
            share.add(REQUEST_BYTES)
            yield share
        finally:
            self._held_bytes -= share.held_bytes

    def take(self, count: int) -> None:
        """Raises NotNow. Whoever takes outside of a request's share never gives back."""
        if self._held_bytes + count > self._limit_bytes:
            raise NotNow("busy", "Too many bytes are on their way through here just now; send this again.", 2)
        self._held_bytes += count


class Share:
    """What one request holds."""

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self.held_bytes = 0

    def add(self, count: int) -> None:
        self._in_flight.take(count)
        self.held_bytes += count
