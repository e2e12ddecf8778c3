"""When an event happened, in domain time, whatever the client's clock shows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from services.ingest.domain.calls import Scalar

TOLERANCE = timedelta(minutes=5)
"""Of a client's clock. Within it, its times are taken as they are: correcting by transit delay would reorder events."""
EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
"""Anything before is a zero of somebody's language, not a time."""
LONGEST = 64
"""Characters of a time that are read, or kept."""
_MILLISECONDS_FROM = 1e11
"""A number of seconds since 1970 is below, one of milliseconds above, for dates between 1973 and 5138."""

MISSING = ("timestamp_missing",)
UNREADABLE = ("timestamp_unreadable",)
CORRECTED = ("skew_corrected",)
IN_FUTURE = ("timestamp_in_future",)


class Dated(msgspec.Struct, frozen=True):
    """``flags`` say what was done to the client's own time."""

    occurred_at: datetime
    flags: tuple[str, ...] = ()


def read_time(value: Scalar) -> datetime | None:
    """ISO 8601 (UTC when it names no zone) or a number of seconds or milliseconds since 1970; None when unreadable."""
    try:
        if isinstance(value, str):
            text = value.strip() if len(value) <= LONGEST else ""
            moment = _since_1970(float(text)) if text.isdigit() and len(text) > 8 else _from_iso(text)
        elif value is None or isinstance(value, bool):
            return None
        else:
            moment = _since_1970(float(value))
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment >= EARLIEST else None


def _from_iso(text: str) -> datetime:
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is UTC:
        return moment
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _since_1970(number: float) -> datetime:
    return datetime.fromtimestamp(number / 1000 if number >= _MILLISECONDS_FROM else number, UTC)


def date(timestamp: Scalar, sent_at: datetime | None, received_at: datetime, wall_now: datetime) -> Dated:
    """The event's time. ``received_at`` is domain time; ``sent_at`` is the client's clock, so it is held against the
    wall's. The event's age is no skew: history keeps its times."""
    if timestamp is None or timestamp == "":
        return Dated(received_at, MISSING)
    moment = read_time(timestamp)
    if moment is None:
        return Dated(received_at, UNREADABLE)
    flags: tuple[str, ...] = ()
    if sent_at is not None and abs(wall_now - sent_at) > TOLERANCE:
        try:
            moment = received_at - (sent_at - moment)
        except OverflowError:
            return Dated(received_at, UNREADABLE)
        if moment < EARLIEST:
            return Dated(received_at, UNREADABLE)
        flags = CORRECTED
    if moment > received_at + TOLERANCE:
        return Dated(received_at, IN_FUTURE)
    return Dated(moment, flags)


def as_sent(value: Scalar) -> str | None:
    """A time as the client wrote it, for people who look into a doubtful event."""
    return None if value is None or value == "" else str(value)[:LONGEST]
