"""Whether a key works now, and how it ends: write keys and API keys alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from libs.common.db import AsyncConnection, text
from libs.common.errors import Refused


class KeyState(StrEnum):
    WORKS = "works"
    EXPIRED = "expired"  # works again when its expiry is moved into the future
    REVOKED = "revoked"  # for good


STATE_OF_K = (
    "CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked' WHEN k.expires_at <= now() THEN 'expired' ELSE 'works' END"
)
"""In SQL, of a key ``k``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What both kinds have; the secret is not among it. ``replaced_by`` is the id of the key that it was rotated to."""

    id: str
    name: str
    state: KeyState
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: str | None


def check_rotatable(key: Key, kind: str) -> None:
    """``kind`` is Write key or API key. Raises Refused 409 when it has ended or was rotated."""
    code = kind.lower().replace(" ", "_")
    if key.state is not KeyState.WORKS:
        raise Refused(409, f"{code}_{key.state}", f"{kind} {key.id} is {key.state}; make another one.")
    if key.replaced_by:
        already = f"{kind} {key.id} was rotated to {key.replaced_by} already; rotate that one."
        raise Refused(409, f"{code}_rotated", already)


async def end_key(
    connection: AsyncConnection, table: str, the_key: str, named: Mapping[str, Any], after: timedelta = timedelta()
) -> None:
    """Now and for good, unless it was before; or ``after`` so long, unless it ends earlier by itself. ``the_key`` is
    the condition that finds it, with the parameters ``named``."""
    if after:
        change = "expires_at = least(expires_at, now() + CAST(:after AS interval))"
        await connection.execute(text(f"UPDATE {table} SET {change} {the_key}"), {**named, "after": after})
    else:
        change = "revoked_at = coalesce(revoked_at, now())"
        await connection.execute(text(f"UPDATE {table} SET {change} {the_key}"), dict(named))
