"""Marks computed by hand."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.health.domain.model import Bands, Linear, RatioToBaseline, Recency, Step
from services.health.domain.transforms import bands_marks, linear_marks, median, ratio_marks, recency_marks
from tests.unit.health.cases import properly

USE_OF_SEATS = Linear(kind="linear", zero_at=0.1, full_from=0.6)
FEWER_IS_BETTER = Linear(kind="linear", zero_at=10, full_from=2)
AGAINST_PAST = RatioToBaseline(kind="ratio_to_baseline", full_from=0.85, zero_at=0.5)
LAST_SEEN = Recency(kind="recency", full_until_working_days=4, zero_from_working_days=14)
U_SHAPE = Bands(
    kind="bands", steps=(Step(below=1, marks=20), Step(at_least=1, below=5, marks=100), Step(at_least=5, marks=33.3))
)


@pytest.mark.parametrize(
    ("value", "marks"),
    [
        (Fraction(1, 10), 0),
        (Fraction(0), 0),
        (Fraction(35, 100), 500),  # half way from 0.1 to 0.6
        (Fraction(1, 3), 467),  # (0.3333 - 0.1) / 0.5 = 0.46667
        (Fraction(6, 10), 1000),
        (Fraction(2), 1000),
    ],
)
def test_linear(value: Fraction, marks: int) -> None:
    assert linear_marks(value, USE_OF_SEATS) == marks


@pytest.mark.parametrize(("value", "marks"), [(0, 1000), (2, 1000), (4, 750), (6, 500), (10, 0), (99, 0)])
def test_linear_where_fewer_is_better(value: int, marks: int) -> None:
    assert linear_marks(Fraction(value), FEWER_IS_BETTER) == marks


@pytest.mark.parametrize(
    ("ratio", "marks"),
    [
        (Fraction(85, 100), 1000),
        (Fraction(3), 1000),
        (Fraction(84, 100), 971),  # 0.34 / 0.35 = 0.9714
        (Fraction(675, 1000), 500),
        (Fraction(1, 2), 0),
        (Fraction(0), 0),
    ],
)
def test_ratio_to_baseline(ratio: Fraction, marks: int) -> None:
    assert ratio_marks(ratio, AGAINST_PAST) == marks


@pytest.mark.parametrize(("days", "marks"), [(0, 1000), (4, 1000), (5, 900), (9, 500), (13, 100), (14, 0), (400, 0)])
def test_recency(days: int, marks: int) -> None:
    assert recency_marks(days, LAST_SEEN) == marks


@pytest.mark.parametrize(
    ("value", "marks"),
    [(Fraction(0), 200), (Fraction(999, 1000), 200), (Fraction(1), 1000), (Fraction(4), 1000), (Fraction(5), 333)],
)
def test_a_step_holds_its_lower_end_and_not_its_upper(value: Fraction, marks: int) -> None:
    assert bands_marks(value, U_SHAPE) == marks


def test_median() -> None:
    assert median([Fraction(7), Fraction(1), Fraction(3)]) == 3
    assert median([Fraction(7), Fraction(1), Fraction(4), Fraction(3)]) == Fraction(7, 2)


@given(st.fractions(-5, 5), st.fractions(-5, 5))
@properly
def test_more_is_never_worse_in_a_rising_transform(one: Fraction, other: Fraction) -> None:
    less, more = sorted((one, other))
    assert 0 <= linear_marks(less, USE_OF_SEATS) <= linear_marks(more, USE_OF_SEATS) <= 1000
    assert linear_marks(less, FEWER_IS_BETTER) >= linear_marks(more, FEWER_IS_BETTER)
