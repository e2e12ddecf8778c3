"""What was measured: a name that says what and in which unit, and one value per run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median


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


Measured = Mapping[str, float]
"""What one run of a scenario has found, by the names of the figures. Ratios are of that one run: the machine's speed
changes between two."""


def figures_of(runs: Iterable[Measured]) -> list[Figure]:
    """In the order in which they came first. A figure that a run does not have is left out of that run."""
    collected: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run.items():
            collected.setdefault(name, []).append(value)
    return [Figure(name, tuple(values)) for name, values in collected.items()]
