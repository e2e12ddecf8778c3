"""Domain time: when it is for customers, which a demo may declare; real deadlines use the monotonic clock instead."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from libs.common.errors import NotStarted


def wall_now() -> datetime:
    """The real time of this machine, in UTC: for leases, retention, retries and the skew of clients."""
    return datetime.now(UTC)


class Clock(Protocol):
    """Where domain time comes from. Rules never see a clock, only the ``as_of`` that was read from one."""

    def now(self) -> datetime:
        """The domain time now, in UTC."""

    def wall_time_of(self, moment: datetime) -> datetime:
        """The real time at which the domain clock showed, or will show, ``moment``."""


class WallClock:
    """Domain time is real time: every installation but a demo."""

    def now(self) -> datetime:
        return wall_now()

    def wall_time_of(self, moment: datetime) -> datetime:
        return moment


@dataclass(frozen=True)
class Declaration:
    """A straight line through (wall anchor, domain anchor) up to real time; rate is domain seconds per real second.

    Domain time never runs backwards and is never later than real time: an accelerated clock that arrives at now is the
    real clock from then on. It stands still at ``until``, if that is set: whoever makes the events of an accelerated
    time moves it on, so that no time passes in which nothing could happen.
    """

    wall_anchor: datetime
    domain_anchor: datetime
    rate: float
    until: datetime | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a line that would run backwards, or moments that name no time zone."""
        if not 0 <= self.rate < float("inf"):
            raise ValueError(f"the rate is {self.rate}, but time does not run backwards or arrive at once")
        moments = (self.wall_anchor, self.domain_anchor, self.until or self.wall_anchor)
        if any(moment.utcoffset() is None for moment in moments):
            raise ValueError("a moment lacks its time zone")

    def domain_time(self, wall: datetime) -> datetime:
        shown = wall if self._has_arrived(wall) else self.domain_anchor + self._passed(wall)
        return shown if self.until is None else min(shown, self.until)

    def wall_time(self, moment: datetime) -> datetime:
        """The inverse. A clock that stands still shows one moment only; for any other the answer is ``moment``."""
        if self.rate == 0 or self._has_arrived(moment):
            return moment
        return self.wall_anchor + (moment - self.domain_anchor) / self.rate

    def _passed(self, wall: datetime) -> timedelta:
        return (wall - self.wall_anchor) * self.rate

    def _has_arrived(self, wall: datetime) -> bool:
        # Compared as durations: the line itself leaves the calendar within weeks.
        return self._passed(wall) >= wall - self.domain_anchor

    def write(self, path: Path) -> None:
        """Atomically, so that a process never reads half a declaration."""
        beside = path.with_suffix(".new")
        beside.write_text(
            json.dumps(
                {
                    "wall_anchor": self.wall_anchor.isoformat(),
                    "domain_anchor": self.domain_anchor.isoformat(),
                    "rate": self.rate,
                    "until": self.until and self.until.isoformat(),
                }
            )
        )
        os.replace(beside, path)

    @classmethod
    def read(cls, path: Path) -> Declaration:
        try:
            fields = json.loads(path.read_text())
            until = fields.get("until")
            return cls(
                wall_anchor=datetime.fromisoformat(fields["wall_anchor"]),
                domain_anchor=datetime.fromisoformat(fields["domain_anchor"]),
                rate=float(fields["rate"]),
                until=datetime.fromisoformat(until) if until else None,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            raise NotStarted(
                f"The domain clock file {path} cannot be read ({exc}); "
                "write it anew or unset KIZASHI_DOMAIN_CLOCK_FILE."
            ) from exc


class DeclaredClock:
    """A demo's domain time, shared between processes through one small file that is read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._version: tuple[int, int] | None = None
        self._declaration = Declaration.read(path)

    def _current(self) -> Declaration:
        found = self._path.stat()
        version = (found.st_mtime_ns, found.st_ino)
        if version != self._version:
            self._declaration = Declaration.read(self._path)
            self._version = version
        return self._declaration

    def now(self) -> datetime:
        return self._current().domain_time(wall_now())

    def wall_time_of(self, moment: datetime) -> datetime:
        return self._current().wall_time(moment)


class FixedClock:
    """A clock that a test moves by hand."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def wall_time_of(self, moment: datetime) -> datetime:
        return moment

    def advance(self, by: timedelta) -> None:
        self.at += by
