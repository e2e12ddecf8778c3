"""Percentiles are values that were measured."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bench.figures import NotMeasured
from bench.percentiles import latencies, percentile


def test_of_a_hundred_values_the_99th_is_the_second_largest() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (1, 50, 99, 100)] == [1, 50, 99, 100]


def test_of_few_values_the_99th_is_the_largest_and_the_median_is_one_of_them() -> None:
    assert (percentile([3.0, 1.0], 50), percentile([3.0, 1.0], 99)) == (1.0, 3.0)


def test_nothing_measured_is_no_figure() -> None:
    with pytest.raises(NotMeasured, match="no value"):
        percentile([], 50)


def test_latencies_are_figures_in_milliseconds() -> None:
    took = [timedelta(milliseconds=n) for n in (250, 1500, 500)]
    assert latencies("accepted_to_scored", took) == {
        "accepted_to_scored_p50_ms": 500.0,
        "accepted_to_scored_p99_ms": 1500.0,
    }
