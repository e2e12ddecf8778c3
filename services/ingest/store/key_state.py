"""Whether a key works now; write keys and API keys end alike."""

from __future__ import annotations

from enum import StrEnum


class KeyState(StrEnum):
    WORKS = "works"
    EXPIRED = "expired"  # works again when its expiry is moved into the future
    REVOKED = "revoked"  # for good


STATE_OF_K = (
    "CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired' ELSE 'works' END"
)
"""In SQL, of a key ``k``."""
