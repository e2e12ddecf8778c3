"""What was measured: a name that says what and in which unit, and one value per run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

_UNITS = (
    (r"_over_\w+$", "ratio"),
    (r"_share$", "share"),
    (r"_cpu_s_per_million$", "CPU s per million"),
    (r"_cpu_s_per_million_accounts$", "CPU s per million accounts"),
    (r"accounts(_scored)?_per_s$", "accounts/s"),
    (r"_([a-z]+)_per_s$", r"\1/s"),
    (r"_ms$", "ms"),
    (r"_count$", ""),
    (r"_s$", "s"),
    (r"(^|_)mb(_total)?$", "MB"),
)


class NotMeasured(Exception):
    """What was to be measured did not happen, so any figure of it would lie."""


@dataclass(frozen=True)
class Figure:
    """``values`` has one value per run, in the order of the runs."""

    name: str
    values: tuple[float, ...]

    @property
    def least(self) -> float:
        return min(self.values)

    @property
    def middle(self) -> float:
        return median(self.values)

    @property
    def most(self) -> float:
        return max(self.values)

    @property
    def unit(self) -> str:
        """As the end of the name says it: ``events/s`` of ``…_events_per_s``."""
        return unit_of(self.name)


Measured = Mapping[str, float]
"""What one run of a scenario has found, by the names of the figures. Ratios are of that one run: the machine's speed
changes between two."""


def unit_of(name: str) -> str:
    """Raises NotMeasured for a name that does not say its unit: nobody could read the figure."""
    for ending, unit in _UNITS:
        if found := re.search(ending, name):
            return found.expand(unit)
    raise NotMeasured(f"The figure {name} does not say its unit at its end.")


def figures_of(runs: Iterable[Measured]) -> list[Figure]:
    """In the order in which they came first. A figure that a run does not have is left out of that run."""
    collected: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.items():
            collected.setdefault(name, []).append(value)
    return [Figure(name, tuple(values)) for name, values in collected.items()]


def in_thousands(count: int) -> str:
    """For a figure's name: ``50k``."""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)
