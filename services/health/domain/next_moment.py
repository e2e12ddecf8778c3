"""When an account's judgement will change by itself if nothing is heard: the one moment the queue waits for."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, time, timedelta

from services.health.domain.facts import day_of

SPREAD = timedelta(hours=1)
"""Accounts are scored over this long after midnight, so that midnight is no peak."""


def next_moment(
    account_id: str, as_of: datetime, silent_at: datetime | None, leaves_band_at: datetime | None
) -> datetime:
    """The first moment after ``as_of`` at which to look again.

    Everything that is counted in days (windows, recency, warm-up, days to a renewal) changes at midnight UTC, because
    facts are kept per UTC day; silence and the patience of a band have their exact moments.
    """
    exact = [moment for moment in (silent_at, leaves_band_at) if moment is not None and moment > as_of]
    return min([daily_moment(account_id, as_of), *exact])


def daily_moment(account_id: str, as_of: datetime) -> datetime:
    """The account's next moment of the day after ``as_of``: within `SPREAD` after midnight, by a hash of its id."""
    digest = hashlib.blake2b(account_id.encode(), digest_size=4).digest()
    late = SPREAD * int.from_bytes(digest, "big") / 2**32
    today = datetime.combine(day_of(as_of), time(), UTC) + late
    return today if today > as_of else today + timedelta(days=1)
