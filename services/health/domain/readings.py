"""What one measure sees in an account's facts: a number, its marks, and both in words a CSM can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Literal, assert_never

import msgspec

from services.health.domain.activity import Activity
from services.health.domain.facts import AccountFacts, DailyCount, Occurrence, day_of, number
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
    Step,
    Usage,
)
from services.health.domain.tenths import Tenths, exact, nearest
from services.health.domain.transforms import bands_marks, linear_marks, median, ratio_marks, recency_marks

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
    """``marks`` is None when the measure is not counted."""

    presence: Presence
    value: str
    threshold: str
    window: str
    raw: Fraction | None = None
    marks: Tenths | None = None
    evidence: Evidence | None = None


def read(measure: Measure, activity: Activity, facts: AccountFacts, as_of: datetime) -> Reading:
    """The measure's reading at ``as_of``."""
    today = day_of(as_of)
    match measure.transform:
        case RatioToBaseline() as ratio:
            reading = _against_own_past(_events(measure), ratio, activity, facts, today)
        case Recency() as recency:
            reading = _days_since(_events(measure), recency, activity, facts, today)
        case Linear() | Bands() as transform:
            reading = _of_a_number(measure.input, transform, activity, facts, today)
        case _:
            assert_never(measure.transform)
    age = 0 if facts.first_seen_at is None else (today - day_of(facts.first_seen_at)).days
    if reading.presence.counted and age < measure.warmup_days:
        wait = f"{reading.value}; counted once the account is {_days(measure.warmup_days)} old"
        return msgspec.structs.replace(reading, presence=Presence.WARMUP, marks=None, value=wait)
    return reading


# --- against the account's own past ------------------------------------------------------------------------------


def _against_own_past(
    events: Events, transform: RatioToBaseline, activity: Activity, facts: AccountFacts, today: date
) -> Reading:
    rows = _rows(events, activity, facts)
    current = _within(rows, transform.current_days, today)
    now = Fraction(_count(current), transform.current_days)
    weeks = _baseline_weeks(rows, transform, facts, today)
    words = _Words(
        threshold=f"full marks from {_percent(transform.full_from)} of usual, none at {_percent(transform.zero_at)}",
        window=f"last {_days(transform.current_days)} against days {transform.baseline_after_days + 1} to "
        f"{transform.baseline_within_days} back",
    )
    if len(weeks) < transform.least_weeks:
        known = f"{len(weeks)} of {transform.least_weeks} weeks known that tell what is usual"
        return words.left_out(Presence.WARMUP, f"{_amount(now)} a day; {known}")
    usual = median(weeks)
    if usual == 0 and now == 0 and events == "activity" and facts.last_activity_at is not None:
        # It stopped so long ago that even the baseline is empty: still silent, not without a past.
        return words.counted("none any more", Fraction(0), 0, presence=Presence.SILENT)
    if usual == 0:
        return words.left_out(Presence.NEVER, f"{_amount(now)} a day; there is no usual to compare with")
    ratio = now / usual
    return words.counted(
        f"{_amount(now)} a day, {_percent(ratio)} of the usual {_amount(usual)}",
        ratio,
        ratio_marks(ratio, transform),
        presence=Presence.MEASURED if now else Presence.SILENT,
        evidence=_evidence(current),
    )


def _baseline_weeks(
    rows: Sequence[DailyCount], transform: RatioToBaseline, facts: AccountFacts, today: date
) -> list[Fraction]:
    """Calls a day in each whole week of the baseline that the account has lived through."""
    calls: Counter[int] = Counter()
    for row in rows:
        calls[(today - row.day).days] += row.count
    age = (today - day_of(facts.first_seen_at)).days if facts.first_seen_at else 0
    weeks = []
    for week in range(transform.weeks):
        latest = transform.baseline_after_days + 7 * week + 1
        if age >= latest + 6:
            weeks.append(Fraction(sum(calls[back] for back in range(latest, latest + 7)), 7))
    return weeks


# --- days since the last time ------------------------------------------------------------------------------------


def _days_since(events: Events, transform: Recency, activity: Activity, facts: AccountFacts, today: date) -> Reading:
    words = _Words(
        threshold=f"full marks up to {_days(transform.full_until_days)}, none from {_days(transform.zero_from_days)}",
        window="until today",
    )
    if events == "activity":
        last = facts.last_activity_at
        if last is None:
            return words.left_out(Presence.NEVER, "never active")
    else:
        last = max((row.last_at for row in _rows(events, activity, facts)), default=None)
        if last is None:
            long_ago = f"not within {_days(transform.zero_from_days)}"
            return words.counted(long_ago, None, 0)
    days = max((today - day_of(last)).days, 0)
    ago = "today" if days == 0 else f"{_days(days)} ago"
    return words.counted(f"last active {ago}", Fraction(days), recency_marks(days, transform))


# --- a number, and marks for it ----------------------------------------------------------------------------------


def _of_a_number(
    measured: Input, transform: Linear | Bands, activity: Activity, facts: AccountFacts, today: date
) -> Reading:
    match measured:
        case Usage():
            rows = _within(_rows(measured.events, activity, facts), measured.window_days or 0, today)
            words = _Words(_threshold(transform, _amount), f"last {_days(measured.window_days or 0)}")
            return _marked(words, transform, f"{_count(rows)} calls", Fraction(_count(rows)), _evidence(rows))
        case FeaturesUsed():
            chosen: Events = "activity" if isinstance(measured.features, str) else measured.features
            rows = _within(_rows(chosen, activity, facts), measured.window_days, today)
            used = len({row.event for row in rows})
            of_all = "" if isinstance(measured.features, str) else f" of {len(set(measured.features))}"
            words = _Words(_threshold(transform, _amount), f"last {_days(measured.window_days)}")
            return _marked(words, transform, f"{used}{of_all} features used", Fraction(used), _evidence(rows))
        case ActivePeople():
            return _people(measured, transform, facts)
        case OpenCases():
            cases = open_cases(measured, facts.occurrences, today)
            words = _Words(
                _threshold(transform, _amount), f"opened within {_days(measured.window_days)}, today included"
            )
            return _marked(words, transform, f"{len(cases)} open", Fraction(len(cases)), _evidence_of_cases(cases))
        case _:
            assert_never(measured)


def _people(measured: ActivePeople, transform: Linear | Bands, facts: AccountFacts) -> Reading:
    people = facts.active_people.get(measured.window_days, 0)
    window = f"last {_days(measured.window_days)}"
    if measured.per_trait is None:
        return _marked(_Words(_threshold(transform, _amount), window), transform, f"{people} people", Fraction(people))
    words = _Words(_threshold(transform, _percent), window)
    licensed = number(facts.traits.get(measured.per_trait))
    if licensed is None or licensed <= 0:
        return words.left_out(Presence.NOT_APPLICABLE, f"{people} people; {measured.per_trait} is not known")
    share = people / exact(licensed)
    value = f"{people} people for {_amount(exact(licensed))} {measured.per_trait} ({_percent(share)})"
    return _marked(words, transform, value, share)


def open_cases(measured: OpenCases, occurrences: Iterable[Occurrence], today: date) -> list[Occurrence]:
    """The latest opening of every case that was opened within the window and not closed since, oldest first."""
    closed_at: dict[str | None, datetime] = {}
    opened: dict[str, Occurrence] = {}
    for one in sorted(occurrences, key=lambda one: (one.at, one.id)):
        if one.event == measured.closed_by:
            closed_at[_case(one, measured.matched_by)] = one.at
        if one.event == measured.opened.event and _matches(one, measured.opened.where):
            opened[_case(one, measured.matched_by) or one.id] = one
    return sorted(
        (
            one
            for one in opened.values()
            if (today - day_of(one.at)).days < measured.window_days
            and not _closed(closed_at.get(_case(one, measured.matched_by)), one.at)
        ),
        key=lambda one: (one.at, one.id),
    )


def _case(one: Occurrence, matched_by: str | None) -> str | None:
    """The name of the case that an occurrence opens or closes; None when it does not say."""
    return None if matched_by is None or matched_by not in one.properties else str(one.properties[matched_by])


def _closed(closed_at: datetime | None, opened_at: datetime) -> bool:
    return closed_at is not None and closed_at >= opened_at


def _matches(one: Occurrence, where: Mapping[str, Sequence[str]]) -> bool:
    return all(
        name in one.properties
        and str(one.properties[name]).strip().casefold() in {value.casefold() for value in values}
        for name, values in where.items()
    )


def _marked(
    words: _Words, transform: Linear | Bands, value: str, amount: Fraction, evidence: Evidence | None = None
) -> Reading:
    marks = linear_marks(amount, transform) if isinstance(transform, Linear) else bands_marks(amount, transform)
    return words.counted(value, amount, marks, evidence=evidence)


# --- rows --------------------------------------------------------------------------------------------------------


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


# --- words -------------------------------------------------------------------------------------------------------


class _Words(msgspec.Struct, frozen=True):
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


def _threshold(transform: Linear | Bands, written: Callable[[Fraction], str]) -> str:
    if isinstance(transform, Linear):
        full, none = written(exact(transform.full_from)), written(exact(transform.zero_at))
        if transform.full_from > transform.zero_at:
            return f"full marks from {full}, none at {none}"
        return f"full marks up to {full}, none from {none}"
    return ", ".join(_step(step, written) for step in transform.steps)


def _step(step: Step, written: Callable[[Fraction], str]) -> str:
    marks = "full marks" if step.marks == 100 else "none" if step.marks == 0 else f"{step.marks:g} of 100 marks"
    lower = "" if step.at_least is None else f" from {written(exact(step.at_least))}"
    upper = "" if step.below is None else f" below {written(exact(step.below))}"
    return f"{marks}{lower}{upper}"


def _amount(amount: Fraction) -> str:
    """31, but 2.5: a decimal only where it matters."""
    return str(nearest(amount)) if amount >= 10 or amount.denominator == 1 else f"{nearest(amount * 10) / 10:g}"


def _percent(share: Fraction | float) -> str:
    return f"{nearest((share if isinstance(share, Fraction) else exact(share)) * 100)} %"


def _days(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"
