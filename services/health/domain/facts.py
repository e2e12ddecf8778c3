"""What a score is made of: everything known about one account as of one moment, and nothing that is not needed.

Whoever loads facts leaves out what had not happened or not arrived by then, people who do not count
(`activity.person_counts`), and sources that are still importing. Days are UTC days.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime

import msgspec

from services.health.domain.activity import Activity

Scalar = str | int | float | bool


class DailyCount(msgspec.Struct, frozen=True, order=True):
    """How often people of the account sent ``event`` on ``day``, and when first and last."""

    day: date
    event: str
    count: int
    first_at: datetime
    last_at: datetime


class ActiveDay(msgspec.Struct, frozen=True, order=True):
    """A day on which a person of the account was active: the moments of the first and the last activity."""

    day: date
    first_at: datetime
    last_at: datetime


class Occurrence(msgspec.Struct, frozen=True):
    """One event that a measure looks inside. ``id`` is the client's message id; of the properties only those that
    the model asks for are kept (`HealthModel.kept_properties`)."""

    event: str
    at: datetime
    id: str
    properties: Mapping[str, Scalar] = {}


class AccountFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One account. The order of rows carries no meaning.

    ``counts``: the last ``HealthModel.days_of_history`` days, every event, one row per day and event.
    ``active_people``: for each of ``HealthModel.people_windows``, how many different people were active in that many
    complete days before the day of the score.
    ``active_days``: the latest ``ACTIVE_DAYS_KEPT`` days with activity, however long ago: silence outlives windows.
    ``occurrences``: those of the events in ``HealthModel.kept_properties``, as far back as ``days_of_history``.
    ``first_seen_at``: the first time that anything named the account.
    """

    account_id: str
    first_seen_at: datetime | None = None
    traits: Mapping[str, Scalar] = {}
    counts: tuple[DailyCount, ...] = ()
    active_people: Mapping[int, int] = {}
    active_days: tuple[ActiveDay, ...] = ()
    occurrences: tuple[Occurrence, ...] = ()

    @property
    def last_activity_at(self) -> datetime | None:
        """The last moment at which a person of the account did something."""
        return max((active.last_at for active in self.active_days), default=None)


ACTIVE_DAYS_KEPT = 90
"""Enough to know an account's rhythm: its gaps between active days."""


def day_of(moment: datetime) -> date:
    """The UTC day of ``moment``."""
    return moment.astimezone(UTC).date()


def weekly_usage(facts: AccountFacts, activity: Activity, as_of: datetime, weeks: int = 8) -> tuple[int, ...]:
    """Activity per week of complete days, oldest first, at most ``weeks``; weeks before the account was seen are left
    out. The trend line of an alert."""
    if facts.first_seen_at is None:
        return ()
    today = day_of(as_of)
    known = min(weeks, math.ceil((today - day_of(facts.first_seen_at)).days / 7))
    calls = [0] * known
    for row in facts.counts:
        week = ((today - row.day).days - 1) // 7
        if 0 <= week < known and activity.event_counts(row.event):
            calls[week] += row.count
    return tuple(reversed(calls))


# --- traits: people send dates in several ways, and numbers as text (`numbers`); what cannot be read is missing ---


def calendar_day(value: Scalar | None) -> date | None:
    """``value`` as a day, from an ISO date or date-time, or None. A date-time with a zone is the UTC day."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return day_of(moment) if moment.tzinfo else moment.date()
    except (ValueError, OverflowError):
        return None


def text(value: Scalar | None) -> str | None:
    """``value`` as text that is not blank, or None."""
    if value is None or isinstance(value, bool):
        return None
    return str(value).strip() or None
