"""Whether a request of a known key may come in: from this page, and now."""

from __future__ import annotations

from libs.common.errors import Refused
from services.ingest.paths import Headers
from services.ingest.write_keys import KeyOwner


class Admission:
    """Asked once before a body is read, when the headers show the key, and once when its events are known."""

    def at_the_door(self, owner: KeyOwner, headers: Headers) -> None:
        """Raises Refused 403 for a page that the key is not for."""
        origin = headers.get(b"origin")
        if owner.origins and origin is not None and origin.decode("latin-1") not in owner.origins:
            raise Refused(
                403,
                "origin_not_allowed",
                f"This write key is not for pages of {origin.decode('latin-1')[:200]}; add the origin to the key.",
            )

    def take(self, owner: KeyOwner, events: int, historical: bool) -> None:
        """Raises Refused 429 when the key has sent more events than its quota."""
