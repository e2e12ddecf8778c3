"""From a number to marks, in tenths: 0 is the worst, 1000 the best. Exact arithmetic, no facts, no words."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from services.health.domain.model import Bands, Linear, RatioToBaseline, Recency, Step
from services.health.domain.tenths import FULL, Tenths, exact, nearest, tenths


def linear_marks(value: Fraction, transform: Linear) -> Tenths:
    return _between(value, exact(transform.zero_at), exact(transform.full_from))


def ratio_marks(ratio: Fraction, transform: RatioToBaseline) -> Tenths:
    return _between(ratio, exact(transform.zero_at), exact(transform.full_from))


def recency_marks(days: int, transform: Recency) -> Tenths:
    return _between(
        Fraction(days), Fraction(transform.zero_from_working_days), Fraction(transform.full_until_working_days)
    )


def step_of(value: Fraction, transform: Bands) -> Step:
    """The one step that holds ``value``; the steps tile the axis, so there always is one."""
    return next(step for step in transform.steps if step.below is None or value < exact(step.below))


def bands_marks(value: Fraction, transform: Bands) -> Tenths:
    return tenths(step_of(value, transform).marks)


def median(values: Sequence[Fraction]) -> Fraction:
    """Of an even number, the mean of the two in the middle."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _between(value: Fraction, zero_at: Fraction, full_from: Fraction) -> Tenths:
    share = (value - zero_at) / (full_from - zero_at)
    return nearest(min(max(share, Fraction(0)), Fraction(1)) * FULL)
