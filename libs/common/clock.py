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
    """A straight line through (wall anchor, domain anchor); rate is domain seconds per real second."""

    wall_anchor: datetime
    domain_anchor: datetime
    rate: float

    def domain_time(self, wall: datetime) -> datetime:
        """Never later than ``wall``: an accelerated clock that arrives at now is the real clock from then on."""
        return min(wall, self.domain_anchor + (wall - self.wall_anchor) * self.rate)

    def wall_time(self, moment: datetime) -> datetime:
        if self.rate == 0 or self.domain_time(moment) == moment:
            return moment
        return self.wall_anchor + (moment - self.domain_anchor) / self.rate

    def write(self, path: Path) -> None:
        """Atomically, so that a process never reads half a declaration."""
        beside = path.with_suffix(".new")
        beside.write_text(
            json.dumps(
                {
                    "wall_anchor": self.wall_anchor.isoformat(),
                    "domain_anchor": self.domain_anchor.isoformat(),
                    "rate": self.rate,
                }
            )
        )
        os.replace(beside, path)

    @classmethod
    def read(cls, path: Path) -> Declaration:
        try:
            fields = json.loads(path.read_text())
            return cls(
                wall_anchor=datetime.fromisoformat(fields["wall_anchor"]),
                domain_anchor=datetime.fromisoformat(fields["domain_anchor"]),
                rate=float(fields["rate"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise NotStarted(
                f"The domain clock file {path} cannot be read ({exc}); write it anew or unset KIZASHI_DOMAIN_CLOCK_FILE."
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
