"""The port to whatever carries messages out of the house: Slack by bot or by webhook, mail by SMTP."""

from __future__ import annotations

from typing import Protocol

from services.notify.domain.delivery import Delivery, Settling
from services.notify.domain.outcomes import Deferred, Finding, Outcome
from services.notify.lease import Lease


class Transport(Protocol):
    """Carries the deliveries of one channel. It never raises but for defects, LeaseRanOut and CannotRender."""

    settling: Settling
    spacing_seconds: float
    """Real time between two messages to one target."""

    def lane_of(self, target: str) -> str:
        """Names what messages to ``target`` queue for: the thing that may be slow, limited or dead by itself."""

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, delivery: Delivery, lease: Lease) -> Outcome:
        """Tell it, within the client time-out, after ``lease.leave()`` right before the first byte that tells."""

    async def look_up(self, delivery: Delivery, place: str | None) -> Finding:
        """Whether the provider has a message of this delivery; ``place`` as learnt from an earlier Accepted.

        Only asked of transports that settle by looking up.
        """


class NotSetUp:
    """Stands for a channel that the environment says nothing about: deliveries wait until somebody sets it up."""

    settling = Settling.LOOK_UP
    """So that an unknown outcome waits too, instead of being guessed at."""
    spacing_seconds = 0.0

    def lane_of(self, target: str) -> str:
        return target

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, _delivery: Delivery, _lease: Lease) -> Outcome:
        return Deferred("not_set_up", whole_channel=True)

    async def look_up(self, _delivery: Delivery, _place: str | None) -> Finding:
        return Deferred("not_set_up")
