"""Whole tenths of a point: the arithmetic in which an explanation adds up to its score exactly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

Tenths = int
"""A tenth of a point: a score is 0 to 1000 of them."""

FULL: Tenths = 1000


def exact(number: float) -> Fraction:
    """The number that was written, not its nearest binary neighbour: 0.85 is 17/20."""
    return Fraction(str(number))


def tenths(points: float) -> Tenths:
    """Points written by a person, to the nearest tenth."""
    return nearest(exact(points) * 10)


def points(amount: Tenths) -> float:
    """For people and for the wire: 873 is 87.3."""
    return amount / 10


def nearest(number: Fraction) -> int:
    """Half is rounded up."""
    return math.floor(number + Fraction(1, 2))


def largest_remainder(shares: Sequence[Fraction], whole: int) -> list[int]:
    """``whole`` split into integers in proportion to ``shares``, which add up to it. Of equal remainders the first
    wins. Raises ValueError when nothing has a share."""
    everything = sum(shares, Fraction(0))
    if everything <= 0:
        raise ValueError("nothing has a share of the whole")
    quotas = [share * whole / everything for share in shares]
    parts = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(shares)), key=lambda place: parts[place] - quotas[place])
    for place in by_remainder[: whole - sum(parts)]:
        parts[place] += 1
    return parts
