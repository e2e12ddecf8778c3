"""Midnight comes for every account of the bench, each has a score then, and every figure says its unit."""

from __future__ import annotations

from bench.figures import unit_of
from bench.scoring import one_midnight
from bench.stage import stage


async def test_every_account_is_scored_as_of_the_same_moment_after_midnight() -> None:
    async with stage("postgres") as made:
        found = await one_midnight(made, accounts=20)

    assert all(value > 0 for value in found.values())
    assert {unit_of(name) for name in found} == {"accounts/s", "CPU s per million accounts"}
