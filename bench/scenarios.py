"""What can be measured: the names that ``ONLY=`` takes, in the order in which they run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

from bench import end_to_end, endurance, health, ingest, ingest_profile, pressure, scoring, two_ingests, waves
from bench.figures import Measured
from bench.sizes import Size
from libs.common.errors import NotStarted

Scenario = Callable[[str, Size], Awaitable[Measured]]
"""One run: the event log's engine and how much to do, in; figures out. Raises NotStarted, and NotMeasured when what
it was to measure did not happen."""

SCENARIOS: Mapping[str, Scenario] = {
    "ingest": ingest.run,
    "health": health.run,
    "scoring": scoring.run,
    "end_to_end": end_to_end.run,
    "waves": waves.run,
    "million": waves.run_million,
    "pressure": pressure.run,
    "two_ingests": two_ingests.run,
    "ingest_profile": ingest_profile.run,
    "endurance": endurance.run,
}
ONLY_WHEN_NAMED = frozenset({"million", "pressure", "two_ingests", "ingest_profile", "endurance"})
"""They answer a question of their own, and take their time for it."""

LONG = frozenset({"million", "endurance"})
"""They run once in a full run too."""

NOT_IN_A_QUICK_RUN = frozenset({"waves"})
"""They take long however little comes: health lets a backfill wait."""


def choose(names: Iterable[str], *, quick: bool) -> Mapping[str, Scenario]:
    """Those named; when none is, all but those that want to be. Raises NotStarted for a name that there is not."""
    wanted = set(names) or SCENARIOS.keys() - ONLY_WHEN_NAMED - (NOT_IN_A_QUICK_RUN if quick else frozenset())
    if unknown := wanted - SCENARIOS.keys():
        raise NotStarted(
            f"There is no scenario {', '.join(sorted(unknown))}; ONLY takes some of {', '.join(SCENARIOS)}."
        )
    return {name: scenario for name, scenario in SCENARIOS.items() if name in wanted}
