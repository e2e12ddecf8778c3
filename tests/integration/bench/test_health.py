"""The scenarios of health measure what they say, on a log too small to believe their figures."""

from __future__ import annotations

from dataclasses import replace

from bench import health
from bench.figures import unit_of
from bench.sizes import QUICK

TINY = replace(QUICK, health_events=3_000, health_claimed_events=800, account_counts=(1_000,))


async def test_health_drains_the_log_and_every_figure_says_its_unit() -> None:
    found = await health.run("postgres", TINY)

    assert {unit_of(name) for name in found} == {"events/s", "ratio", "CPU s per million", "MB"}
    assert all(value > 0 for value in found.values())
    assert found["health_drain_routed_events_per_s"] <= found["health_drain_events_per_s"]
    assert found["health_drain_over_raw_read"] < 1
