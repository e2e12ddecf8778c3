"""Whether a request of a known key may come in: from this page, and now."""

from __future__ import annotations

from dataclasses import dataclass

from libs.common.errors import Refused
from services.ingest.paths import Headers
from services.ingest.quotas import Quotas
from services.ingest.write_keys import KeyOwner


@dataclass(frozen=True)
class Admission:
    """Asked once before a body is read, when the headers show the key, and once when its events are known."""

    quotas: Quotas

    def at_the_door(self, owner: KeyOwner, headers: Headers, historical: bool) -> None:
        """Raises Refused 403 for a page that the key is not for, OverQuota for a key that owes events.
        ``historical`` is what the path says; a body may say it too, but that costs reading it."""
        origin = headers.get(b"origin")
        if owner.origins and origin is not None and origin.decode("latin-1") not in owner.origins:
            raise Refused(
                403,
                "origin_not_allowed",
                f"This write key is not for pages of {origin.decode('latin-1')[:200]}; add the origin to the key.",
            )
        self.quotas.check(owner, historical)

    def take(self, owner: KeyOwner, events: int, historical: bool) -> None:
        """Raises OverQuota when the key owes events already; else these are taken from its quota."""
        self.quotas.take(owner, events, historical)
