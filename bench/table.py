"""Figures for people, as a table of plain text, and for programs, as one line of JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from bench.figures import Figure

HEADINGS = ("figure", "least", "median", "most", "unit")
SIGNIFICANT_DIGITS = 4


def table(figures: Sequence[Figure]) -> str:
    rows = [HEADINGS, *((f.name, shown(f.least), shown(f.middle), shown(f.most), f.unit) for f in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            (name.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=False)), unit)
        )
        for name, *cells, unit in rows
    )


def json_line(figures: Sequence[Figure], *, log: str, runs: int, quick: bool) -> str:
    """The medians, by name, with what they were measured on."""
    measured = {figure.name: rounded(figure.middle) for figure in figures}
    return json.dumps({"log": log, "runs": runs, "quick": quick, "cores": os.cpu_count(), **measured})


def shown(value: float) -> str:
    """With as many digits as a measurement is good for: 43,210; 12.35; 0.6123."""
    number = rounded(value)
    return f"{number:,}" if number == int(number) else f"{number:,.{_decimals(value)}f}"


def rounded(value: float) -> float | int:
    number = round(value, _decimals(value))
    return int(number) if number == int(number) else number


def _decimals(value: float) -> int:
    """After the point; none is worth showing behind four digits before it."""
    before_the_point = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return max(0, SIGNIFICANT_DIGITS - before_the_point)
