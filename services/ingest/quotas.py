"""Quotas: how many events a second a write key may send, by a token bucket of its own for each lane, and at which pace
what it sent of history goes on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from libs.common.errors import Refused
from libs.common.observability import REGISTRY, Counter, get_logger
from services.ingest.pace import UNPACED, Now, Pace, Sleep
from services.ingest.write_keys import KeyOwner

logger = get_logger(__name__)

BURST_SECONDS = 10
"""Of its quota that a key may send at once after a rest: SDKs send in batches, and after an outage all they kept."""
HISTORY_BURST_SECONDS = 1
"""The same of history: whoever imports has no backlog, and waits in line for its turn (``Pace``)."""
LONGEST_WAIT_SECONDS = 300
"""What clients obey of a Retry-After."""
TELL_EVERY_SECONDS = 60.0
REMEMBERED = 10_000
"""Buckets, before those are forgotten that are full again, which loses nothing."""

_refused = Counter(
    "kizashi_ingest_over_quota_total", "Requests refused for the quota of their key", ["lane"], registry=REGISTRY
)


class OverQuota(Refused):
    """HTTP 429: nothing of the request was kept, and its sender comes back when the bucket has filled."""


class _Place(NamedTuple):
    """Where a bucket stands. History has its own, so that an import takes nothing from what is sent live."""

    key_id: str
    historical: bool

    @property
    def lane(self) -> str:
        return "import" if self.historical else "live"

    @property
    def burst_seconds(self) -> float:
        return HISTORY_BURST_SECONDS if self.historical else BURST_SECONDS


@dataclass(slots=True)
class _Bucket:
    """``level`` events may be sent now; below zero they are owed. ``refused`` since it was last logged."""

    level: float
    at: float
    told_at: float = -math.inf
    refused: int = 0
    pace: Pace | None = None

    def fill(self, events_per_s: int, burst_seconds: float, now: float) -> float:
        """The level now. The quota may be another than the last time."""
        self.level = min(self.level + events_per_s * (now - self.at), events_per_s * burst_seconds)
        self.at = now
        return self.level


class Quotas:
    """Whoever is not in debt may send one request of any size, and owes what it is above the level of the bucket: so
    a batch that is larger than the bucket passes too, and what passes in the long run is the quota.

    A key's own quota counts for each lane, in place of the installation's; 0 is none. Every process counts for itself:
    N of them let a key send N times as much.
    """

    def __init__(
        self,
        live_events_per_s: int,
        import_events_per_s: int,
        must_hurry: Callable[[], bool] = lambda: False,
        now: Now = monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``must_hurry``: history waits for no turn."""
        self._live_events_per_s = live_events_per_s
        self._import_events_per_s = import_events_per_s
        self._must_hurry = must_hurry
        self._now = now
        self._sleep = sleep
        self._buckets: dict[_Place, _Bucket] = {}

    def check(self, owner: KeyOwner, historical: bool) -> None:
        """Raises OverQuota when the key is in debt."""
        if not (quota := self._quota(owner, historical)):
            return
        place = _Place(owner.key_id, historical)
        if (bucket := self._buckets.get(place)) is not None:
            self._check(owner, place, bucket, quota)

    def take(self, owner: KeyOwner, events: int, historical: bool) -> None:
        """Raises OverQuota, and takes nothing, when the key is in debt. A request without events counts as one."""
        if not (quota := self._quota(owner, historical)):
            return
        place = _Place(owner.key_id, historical)
        bucket = self._buckets.get(place) or self._new_bucket(place, quota)
        self._check(owner, place, bucket, quota)
        bucket.level -= max(events, 1)

    def give_back(self, owner: KeyOwner, events: int, historical: bool) -> None:
        """What was taken for a request of which nothing was kept."""
        if (bucket := self._buckets.get(_Place(owner.key_id, historical))) is not None:
            bucket.level += max(events, 1)

    def pace(self, owner: KeyOwner) -> Pace:
        """Of its history, of which some was taken before."""
        quota = self._quota(owner, historical=True)
        bucket = self._buckets.get(_Place(owner.key_id, historical=True))
        if not quota or bucket is None:
            return UNPACED
        if bucket.pace is None:
            bucket.pace = Pace(must_hurry=self._must_hurry, now=self._now, sleep=self._sleep)
        bucket.pace.events_per_s = quota
        return bucket.pace

    def _quota(self, owner: KeyOwner, historical: bool) -> int:
        return owner.events_per_s or (self._import_events_per_s if historical else self._live_events_per_s)

    def _check(self, owner: KeyOwner, place: _Place, bucket: _Bucket, quota: int) -> None:
        level = bucket.fill(quota, place.burst_seconds, self._now())
        if level > 0:
            return
        bucket.refused += 1
        _refused.labels(place.lane).inc()
        self._tell(owner, place, bucket, quota)
        wait = min(max(math.ceil(-level / quota), 1), LONGEST_WAIT_SECONDS)
        what = "of history " if place.historical else ""
        raise OverQuota(
            429,
            "over_quota",
            f"The write key {owner.key_id} has sent more than its quota of {quota} events {what}a second; send this "
            f"again in {wait} s.",
            retry_after=wait,
        )

    def _new_bucket(self, place: _Place, quota: int) -> _Bucket:
        now = self._now()
        if len(self._buckets) >= REMEMBERED:
            # At its own quota each would be full by then, whatever that quota is.
            self._buckets = {
                one: bucket
                for one, bucket in self._buckets.items()
                if bucket.level < 0 or now - bucket.at < BURST_SECONDS
            }
        bucket = self._buckets[place] = _Bucket(level=quota * place.burst_seconds, at=now)
        return bucket

    def _tell(self, owner: KeyOwner, place: _Place, bucket: _Bucket, quota: int) -> None:
        """Once a minute for a key, however many are refused."""
        if bucket.at - bucket.told_at < TELL_EVERY_SECONDS:
            return
        logger.warning(
            "over_quota",
            workspace=owner.workspace,
            source=owner.source,
            key_id=owner.key_id,
            lane=place.lane,
            events_per_s=quota,
            requests=bucket.refused,
        )
        bucket.told_at, bucket.refused = bucket.at, 0
