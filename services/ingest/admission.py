"""Whether a request of a known key may come in: from this page, and now."""

from __future__ import annotations

from dataclasses import dataclass

from libs.common.errors import Refused
from services.ingest.origins import NO_ORIGIN
from services.ingest.pace import Pace
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
        check_origin(owner, headers)
        self.quotas.check(owner, historical)

    def take(self, owner: KeyOwner, events: int, historical: bool) -> None:
        """Raises OverQuota when the key owes events already; else these are taken from its quota."""
        self.quotas.take(owner, events, historical)

    def pace(self, owner: KeyOwner) -> Pace:
        """At which history that was taken goes to the log."""
        return self.quotas.pace(owner)

    def give_back(self, owner: KeyOwner, events: int, historical: bool) -> None:
        """Of what was taken, that of which nothing was kept."""
        self.quotas.give_back(owner, events, historical)


def check_origin(owner: KeyOwner, headers: Headers) -> None:
    """Raises Refused 403. Servers and apps send no origin, and may always come in: whoever has the key could send like
    them."""
    if not owner.origins:
        return
    origin = headers.get(b"origin", b"").decode("latin-1").lower()
    if origin and origin not in owner.origins:
        page = f"pages of {origin[:200]}" if origin != NO_ORIGIN else "pages without an origin, as files have none"
        raise Refused(
            403,
            "origin_not_allowed",
            f"This write key is not for {page}; add the origin of the page to the key, or use one for every page.",
        )
