from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.health.domain.tenths import exact, largest_remainder, nearest, points, tenths
from tests.unit.health.cases import properly


def test_what_was_written_is_meant() -> None:
    assert exact(0.85) == Fraction(17, 20)
    assert exact(1e-7) == Fraction(1, 10_000_000)
    assert tenths(66.7) == 667
    assert points(873) == 87.3


@pytest.mark.parametrize(
    ("number", "rounded"), [(Fraction(1, 2), 1), (Fraction(49, 100), 0), (Fraction(3, 2), 2), (Fraction(5), 5)]
)
def test_half_is_rounded_up(number: Fraction, rounded: int) -> None:
    assert nearest(number) == rounded


def test_thirds_of_a_hundred_add_up() -> None:
    assert largest_remainder([Fraction(1)] * 3, 100) == [34, 33, 33]
    # 1000 * 1/6 = 166.67, * 2/6 = 333.33, * 3/6 = 500: the one tenth that is left goes to the largest remainder.
    assert largest_remainder([Fraction(1), Fraction(2), Fraction(3)], 1000) == [167, 333, 500]


def test_nothing_to_share_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing has a share"):
        largest_remainder([Fraction(0)], 1000)


@given(st.lists(st.fractions(0, 100), min_size=1, max_size=12), st.integers(0, 5000))
@properly
def test_parts_are_whole_add_up_and_are_within_one_of_their_share(shares: list[Fraction], whole: int) -> None:
    everything = sum(shares)
    if everything == 0:
        return
    parts = largest_remainder(shares, whole)
    assert sum(parts) == whole
    for part, share in zip(parts, shares, strict=True):
        assert abs(part - share * whole / everything) < 1
        assert part == 0 or share > 0
