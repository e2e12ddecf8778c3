"""Percentiles of what was measured, as figures."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import timedelta

from bench.figures import Measured, NotMeasured


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of all do not exceed: one that was measured, none between two.

    Raises NotMeasured when there are none.
    """
    if not values:
        raise NotMeasured("There is no value to take a percentile of.")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def latencies(name: str, took: Iterable[timedelta]) -> Measured:
    """``<name>_p50_ms`` and ``<name>_p99_ms``."""
    milliseconds = [one.total_seconds() * 1000 for one in took]
    return {f"{name}_p{percent}_ms": percentile(milliseconds, percent) for percent in (50, 99)}
