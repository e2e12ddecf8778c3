"""Numbers, days and thresholds in words a CSM can read."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from services.health.domain.model import Bands, Linear, Step
from services.health.domain.tenths import exact, nearest


def as_amount(value: Fraction | int) -> str:
    """31, but 2.5: a decimal only where it matters."""
    whole = value >= 10 or value.denominator == 1
    return str(nearest(Fraction(value))) if whole else f"{nearest(Fraction(value) * 10) / 10:g}"


def as_percent(share: Fraction) -> str:
    return f"{nearest(share * 100)} %"


def so_many(value: Fraction | int, one: str, many: str) -> str:
    """«1 action», «2 actions»."""
    return f"{as_amount(value)} {one if value == 1 else many}"


def as_days(days: int) -> str:
    return so_many(days, "day", "days")


def as_threshold(transform: Linear | Bands, written: Callable[[Fraction], str] = as_amount) -> str:
    """«full marks from 60 %, none at 10 %»; ``written`` says how a value is written."""
    if isinstance(transform, Bands):
        return ", ".join(_step(step, written) for step in transform.steps)
    full, none = written(exact(transform.full_from)), written(exact(transform.zero_at))
    if transform.full_from > transform.zero_at:
        return f"full marks from {full}, none at {none}"
    return f"full marks up to {full}, none from {none}"


def _step(step: Step, written: Callable[[Fraction], str]) -> str:
    marks = "full marks" if step.marks == 100 else "none" if step.marks == 0 else f"{step.marks:g} of 100 marks"
    lower = "" if step.at_least is None else f" from {written(exact(step.at_least))}"
    upper = "" if step.below is None else f" below {written(exact(step.below))}"
    return f"{marks}{lower}{upper}"
