"""The score: every measure's marks times its effective weight, in whole tenths, so that the explanation adds up."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

import msgspec

from services.health.domain.calendar import Calendar
from services.health.domain.facts import AccountFacts
from services.health.domain.model import HealthModel
from services.health.domain.readings import Evidence, Presence, Reading, read
from services.health.domain.tenths import FULL, Tenths, exact, largest_remainder, nearest


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One measure's part of the score.

    ``weight`` is the effective one: what the measure can give at most, after the weight of those that are not counted
    was shared out; 0 for those. ``given`` + ``lost`` = ``weight``. ``marks`` is None when it is not counted.
    """

    dimension: str
    measure: str
    title: str
    presence: Presence
    raw: float | None
    value: str
    threshold: str
    window: str
    marks: Tenths | None
    weight: Tenths
    given: Tenths
    lost: Tenths
    evidence: Evidence | None = None


class Scorecard(msgspec.Struct, frozen=True, kw_only=True):
    """A score with its explanation. The same facts, model, calendar and ``as_of`` give the same bytes.

    ``score`` is the sum of what the lines give and 1000 less the sum of what they lose, or None when ``coverage``, the
    share of weight that could be measured, is too small to say anything. Lines stand in the order of the model.
    ``fingerprint`` says with which scorecards this one can be compared: those by the same model and calendar.
    """

    account_id: str
    as_of: datetime
    model: str
    model_version: int
    fingerprint: str = ""
    score: Tenths | None
    coverage: float
    lines: tuple[Line, ...]

    @property
    def insufficient_data(self) -> bool:
        return self.score is None


def fingerprint_of(model: HealthModel, calendar: Calendar) -> str:
    return f"{model.fingerprint}.{calendar.fingerprint}"


def score(facts: AccountFacts, model: HealthModel, calendar: Calendar, as_of: datetime) -> Scorecard:
    """The account's score at ``as_of``. Weight that is missing goes to the other measures of its dimension; that of a
    dimension without any goes to the other dimensions."""
    readings = [read(measure, model.activity, calendar, facts, as_of) for _, measure in model.measures()]
    weights = _effective_weights(model, readings)
    lines = tuple(
        _line(dimension.id, measure.id, measure.title, reading, weight)
        for (dimension, measure), reading, weight in zip(model.measures(), readings, weights, strict=True)
    )
    coverage = _coverage(model, readings)
    return Scorecard(
        account_id=facts.account_id,
        as_of=as_of,
        model=model.name,
        model_version=model.version,
        fingerprint=fingerprint_of(model, calendar),
        score=sum(line.given for line in lines) if coverage >= exact(model.least_coverage) else None,
        coverage=round(float(coverage), 3),
        lines=lines,
    )


def _line(dimension: str, measure: str, title: str, reading: Reading, weight: Tenths) -> Line:
    given = nearest(Fraction(weight * (reading.marks or 0), FULL))
    return Line(
        dimension=dimension,
        measure=measure,
        title=title,
        presence=reading.presence,
        raw=None if reading.raw is None else round(float(reading.raw), 4),
        value=reading.value,
        threshold=reading.threshold,
        window=reading.window,
        marks=reading.marks,
        weight=weight,
        given=given,
        lost=weight - given,
        evidence=reading.evidence,
    )


def _coverage(model: HealthModel, readings: list[Reading]) -> Fraction:
    return sum(
        (
            exact(dimension.weight) * exact(measure.weight) / 10_000
            for (dimension, measure), reading in zip(model.measures(), readings, strict=True)
            if reading.presence.counted
        ),
        Fraction(0),
    )


def _effective_weights(model: HealthModel, readings: list[Reading]) -> list[Tenths]:
    counted = {
        measure.id: reading.presence.counted for (_, measure), reading in zip(model.measures(), readings, strict=True)
    }
    inside = {
        dimension.id: sum((exact(one.weight) for one in dimension.measures if counted[one.id]), Fraction(0))
        for dimension in model.dimensions
    }
    shares = [
        exact(dimension.weight) * exact(measure.weight) / inside[dimension.id] if counted[measure.id] else Fraction(0)
        for dimension, measure in model.measures()
    ]
    return largest_remainder(shares, FULL) if any(shares) else [0] * len(shares)
