"""What one measure sees in an account's facts: a number, its marks, and both in words a CSM can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Literal, assert_never

import msgspec

from services.health.domain.activity import Activity
from services.health.domain.calendar import Calendar
from services.health.domain.facts import AccountFacts, DailyCount, Occurrence, day_of
from services.health.domain.model import (
    ActivePeople,
    Bands,
    FeaturesUsed,
    Input,
    Linear,
    Measure,
    OpenCases,
    RatioToBaseline,
    Recency,
    Usage,
)
from services.health.domain.numbers import number
from services.health.domain.open_cases import open_cases
from services.health.domain.tenths import Tenths, exact
from services.health.domain.transforms import bands_marks, linear_marks, median, ratio_marks, recency_marks
from services.health.domain.words import as_amount, as_days, as_percent, as_threshold, so_many

Events = Literal["activity"] | tuple[str, ...]


class Presence(StrEnum):
    """Whether a measure has something to say: missing is typed, and never just zero."""

    MEASURED = "measured"
    SILENT = "silent"  # had a baseline, nothing now: counts, as zero
    NEVER = "never"  # never had a baseline: left out
    WARMUP = "warmup"  # the account is too young: left out
    NOT_APPLICABLE = "not_applicable"  # what it is compared with is unknown: left out

    @property
    def counted(self) -> bool:
        return self in (Presence.MEASURED, Presence.SILENT)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the number was counted from. Ids are known only for events that the model looks inside."""

    count: int
    first_at: datetime
    last_at: datetime
    first_id: str | None = None
    last_id: str | None = None


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """``value`` is ``raw`` in words. ``marks`` is None when the measure is not counted."""

    presence: Presence
    value: str
    threshold: str
    window: str
    raw: Fraction | None = None
    marks: Tenths | None = None
    evidence: Evidence | None = None


def read(measure: Measure, activity: Activity, calendar: Calendar, facts: AccountFacts, as_of: datetime) -> Reading:
    """The measure's reading at ``as_of``."""
    today = day_of(as_of)
    match measure.transform:
        case RatioToBaseline() as ratio:
            reading = _against_own_past(
                _rows(_events(measure), activity, facts), measure, ratio, calendar, facts, today
            )
        case Recency() as recency:
            reading = _days_since(_events(measure), recency, activity, calendar, facts, today)
        case Linear() | Bands() as transform:
            reading = _of_a_number(measure.input, transform, activity, facts, today)
        case _:
            assert_never(measure.transform)
    if reading.presence.counted and _age(facts, today) < measure.warmup_days:
        return msgspec.structs.replace(
            reading,
            presence=Presence.WARMUP,
            marks=None,
            value=f"{reading.value}; counted once the account is {as_days(measure.warmup_days)} old",
        )
    return reading


class _About(msgspec.Struct, frozen=True):
    """What is true of a measure whatever it sees."""

    threshold: str
    window: str

    def counted(
        self,
        value: str,
        raw: Fraction | None,
        marks: Tenths,
        *,
        presence: Presence = Presence.MEASURED,
        evidence: Evidence | None = None,
    ) -> Reading:
        return Reading(
            presence=presence,
            value=value,
            threshold=self.threshold,
            window=self.window,
            raw=raw,
            marks=marks,
            evidence=evidence,
        )

    def left_out(self, presence: Presence, value: str) -> Reading:
        return Reading(presence=presence, value=value, threshold=self.threshold, window=self.window)


# --- against the account's own past ------------------------------------------------------------------------------


def _against_own_past(
    every_row: Sequence[DailyCount],
    measure: Measure,
    transform: RatioToBaseline,
    calendar: Calendar,
    facts: AccountFacts,
    today: date,
) -> Reading:
    events = _events(measure)
    rows = [row for row in every_row if not calendar.takes_off(row.day)]
    current = _within(rows, _days_without_holidays(transform, calendar, today), today)
    now = Fraction(_count(current), transform.current_days)
    now_in_words = f"{so_many(now, 'action', 'actions')} a day"
    weeks = _baseline_weeks(rows, transform, calendar, facts, today)
    full, none = as_percent(exact(transform.full_from)), as_percent(exact(transform.zero_at))
    about = _About(
        threshold=f"full marks from {full} of usual, none at {none}",
        window=f"last {as_days(transform.current_days)} against days {transform.baseline_after_days + 1} to "
        f"{transform.baseline_within_days} back",
    )
    if len(weeks) < transform.least_weeks:
        known = f"{len(weeks)} of {transform.least_weeks} weeks known that tell what is usual"
        return about.left_out(Presence.WARMUP, f"{now_in_words}; {known}")
    usual = median(weeks)
    if usual == 0 and now == 0 and events == "activity" and facts.last_activity_at is not None:
        # It stopped so long ago that even the baseline is empty: still silent, not without a past.
        return about.counted("none any more", Fraction(0), 0, presence=Presence.SILENT)
    if usual == 0:
        return about.left_out(Presence.NEVER, f"{now_in_words}; there is no usual to compare with")
    ratio = now / usual
    return about.counted(
        f"{now_in_words}, {as_percent(ratio)} of the usual {as_amount(usual)}",
        ratio,
        ratio_marks(ratio, transform),
        presence=Presence.MEASURED if now else Presence.SILENT,
        evidence=_evidence(current),
    )


def _baseline_weeks(
    rows: Sequence[DailyCount], transform: RatioToBaseline, calendar: Calendar, facts: AccountFacts, today: date
) -> list[Fraction]:
    """Calls a day in each whole week of the baseline that the account has lived through and mostly worked."""
    calls: Counter[int] = Counter()
    for row in rows:
        calls[(today - row.day).days] += row.count
    weeks = []
    for week in range(transform.weeks):
        latest = transform.baseline_after_days + 7 * week + 1
        days = range(latest, latest + 7)
        taken_off = sum(calendar.takes_off(today - timedelta(days=back)) for back in days)
        if _age(facts, today) >= latest + 6 and taken_off < 3:
            weeks.append(Fraction(sum(calls[back] for back in days), 7 - taken_off))
    return weeks


def _days_without_holidays(transform: RatioToBaseline, calendar: Calendar, today: date) -> int:
    """How far back now reaches, so that it holds as many working days as without holidays; not beyond the baseline."""
    back, owed = 0, 0
    while back < transform.baseline_within_days and (back < transform.current_days or owed):
        back += 1
        day = today - timedelta(days=back)
        if back <= transform.current_days:
            owed += calendar.takes_off(day)
        elif calendar.is_working_day(day):
            owed -= 1
    return back


# --- days since the last time ------------------------------------------------------------------------------------


def _days_since(
    events: Events, transform: Recency, activity: Activity, calendar: Calendar, facts: AccountFacts, today: date
) -> Reading:
    full, none = (
        so_many(days, "working day", "working days")
        for days in (transform.full_until_working_days, transform.zero_from_working_days)
    )
    about = _About(threshold=f"full marks up to {full}, none from {none}", window="until today")
    if events == "activity":
        last = facts.last_activity_at
        if last is None:
            return about.left_out(Presence.NEVER, "never active")
    else:
        last = max((row.last_at for row in _rows(events, activity, facts)), default=None)
        if last is None:
            return about.counted(f"not within {none}", None, 0)
    days = max((today - day_of(last)).days, 0)
    ago = "today" if days == 0 else f"{as_days(days)} ago"
    worked = calendar.working_days_after(day_of(last), today)
    return about.counted(f"last active {ago}", Fraction(worked), recency_marks(worked, transform))


# --- a number, and marks for it ----------------------------------------------------------------------------------


def _of_a_number(
    measured: Input, transform: Linear | Bands, activity: Activity, facts: AccountFacts, today: date
) -> Reading:
    about = _About(threshold=as_threshold(transform), window=f"last {as_days(measured.window_days or 0)}")
    match measured:
        case Usage():
            rows = _within(_rows(measured.events, activity, facts), measured.window_days or 0, today)
            calls = _count(rows)
            return _marked(about, transform, so_many(calls, "action", "actions"), Fraction(calls), _evidence(rows))
        case FeaturesUsed():
            chosen: Events = "activity" if isinstance(measured.features, str) else measured.features
            rows = _within(_rows(chosen, activity, facts), measured.window_days, today)
            used = len({row.event for row in rows})
            value = so_many(used, "feature used", "features used")
            if not isinstance(measured.features, str):
                value = f"{used} of {so_many(len(set(measured.features)), 'feature', 'features')} used"
            return _marked(about, transform, value, Fraction(used), _evidence(rows))
        case ActivePeople():
            return _people(about, measured, transform, facts)
        case OpenCases():
            cases = open_cases(measured, facts.occurrences, today)
            about = _About(threshold=about.threshold, window=f"opened in the {about.window}, today included")
            return _marked(about, transform, f"{len(cases)} open", Fraction(len(cases)), _evidence_of_cases(cases))
        case _:
            assert_never(measured)


def _people(about: _About, measured: ActivePeople, transform: Linear | Bands, facts: AccountFacts) -> Reading:
    people = facts.active_people.get(measured.window_days, 0)
    in_words = so_many(people, "person", "people")
    if measured.per_trait is None:
        return _marked(about, transform, in_words, Fraction(people))
    about = _About(threshold=as_threshold(transform, as_percent), window=about.window)
    licensed = number(facts.traits.get(measured.per_trait))
    if licensed is None or licensed <= 0:
        return about.left_out(Presence.NOT_APPLICABLE, f"{in_words}; {measured.per_trait} is not known")
    share = people / exact(licensed)
    value = f"{in_words} for {as_amount(exact(licensed))} {measured.per_trait} ({as_percent(share)})"
    return _marked(about, transform, value, share)


def _marked(
    about: _About, transform: Linear | Bands, value: str, raw: Fraction, evidence: Evidence | None = None
) -> Reading:
    marks = linear_marks(raw, transform) if isinstance(transform, Linear) else bands_marks(raw, transform)
    return about.counted(value, raw, marks, evidence=evidence)


# --- rows --------------------------------------------------------------------------------------------------------


def _age(facts: AccountFacts, today: date) -> int:
    """Days since anything first named the account."""
    return (today - day_of(facts.first_seen_at)).days if facts.first_seen_at else 0


def _events(measure: Measure) -> Events:
    """The events of a measure over time; the model refuses any other input for it."""
    return measure.input.events if isinstance(measure.input, Usage) else "activity"


def _rows(events: Events, activity: Activity, facts: AccountFacts) -> list[DailyCount]:
    if isinstance(events, str):
        return [row for row in facts.counts if activity.event_counts(row.event)]
    return [row for row in facts.counts if row.event in events]


def _within(rows: Iterable[DailyCount], days: int, today: date) -> list[DailyCount]:
    """Those of the last complete ``days``: today has not ended, so it would always look too small."""
    first = today - timedelta(days=days)
    return [row for row in rows if first <= row.day < today and row.count > 0]


def _count(rows: Iterable[DailyCount]) -> int:
    return sum(row.count for row in rows)


def _evidence(rows: Sequence[DailyCount]) -> Evidence | None:
    if not rows:
        return None
    return Evidence(
        count=_count(rows), first_at=min(row.first_at for row in rows), last_at=max(row.last_at for row in rows)
    )


def _evidence_of_cases(cases: Sequence[Occurrence]) -> Evidence | None:
    if not cases:
        return None
    first, last = cases[0], cases[-1]
    return Evidence(count=len(cases), first_at=first.at, last_at=last.at, first_id=first.id, last_id=last.id)
