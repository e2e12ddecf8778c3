"""What can be measured: the names that ``ONLY=`` takes, in the order in which they run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

from bench import end_to_end, health, ingest, pressure, scoring, waves
from bench.figures import Measured
from bench.sizes import Size
from libs.common.errors import NotStarted

Scenario = Callable[[str, Size], Awaitable[Measured]]
"""One run: the event log's engine and how much to do, in; figures out. Raises NotStarted, and NotMeasured when what
it was to measure did not happen."""

SCENARIOS: Mapping[str, Scenario] = {
    "ingest": ingest.run,
    "pressure": pressure.run,
    "health": health.run,
    "scoring": scoring.run,
    "end_to_end": end_to_end.run,
    "waves": waves.run,
}


def choose(names: Iterable[str]) -> Mapping[str, Scenario]:
    """Those named, all when none is. Raises NotStarted for a name that there is not."""
    wanted = set(names)
    if unknown := wanted - SCENARIOS.keys():
        raise NotStarted(
            f"There is no scenario {', '.join(sorted(unknown))}; ONLY takes some of {', '.join(SCENARIOS)}."
        )
    return {name: scenario for name, scenario in SCENARIOS.items() if not wanted or name in wanted}
