"""Accounts with years behind them cost no more than new ones."""

from __future__ import annotations

from datetime import timedelta

from libs.common.events import Band, Tier
from services.playbook.domain.runs import Outcome, PastRun, Run
from services.playbook.store.runs import insert_runs, load_last_runs
from tests.integration.playbook.conftest import House
from tests.unit.playbook.examples import (
    ACCOUNT,
    NOW,
    WORKSPACE,
    account_silent,
    band_changed,
    usage_decline,
    went_silent,
)

KEY = (WORKSPACE, ACCOUNT)
PLAYBOOKS = ["account-silent", "never-run", "usage-decline"]


async def _live(house: House, episodes: int) -> None:
    """A decline and a silence in each of so many months, all of them over."""
    runs = []
    for n in range(1, episodes + 1):
        then = NOW - timedelta(days=30 * (episodes - n))
        decline = Run.of(usage_decline(), Tier.HIGH, band_changed(Band.RED, version=n, episode=n), then)
        silence = Run.of(account_silent(), Tier.HIGH, went_silent(version=n, episode=n, band=None), then)
        runs += [run.ended(Outcome.STEPS_DONE, then + timedelta(days=1)) for run in (decline, silence)]
    async with house.database.transaction([WORKSPACE]) as connection:
        await insert_runs(connection, runs)


async def test_the_last_run_of_each_playbook_is_all_that_is_loaded(house: House) -> None:
    await _live(house, 120)
    async with house.database.transaction([WORKSPACE]) as connection:
        loaded = await load_last_runs(connection, [KEY, (WORKSPACE, "nobody")], PLAYBOOKS)
        assert loaded == {
            KEY: [
                PastRun("account-silent", 120, None, NOW + timedelta(days=1)),
                PastRun("usage-decline", 120, Band.RED, NOW + timedelta(days=1)),
            ]
        }
        assert await load_last_runs(connection, [KEY], ["never-run"]) == {}


async def test_of_runs_that_ended_at_one_moment_the_one_with_the_newest_finding_is_the_last(house: House) -> None:
    ended = [
        Run.of(usage_decline(), Tier.HIGH, finding, NOW).ended(Outcome.GOAL_REACHED, NOW)
        for finding in (
            band_changed(Band.YELLOW, version=9, episode=1),
            band_changed(Band.RED, Band.YELLOW, version=10, episode=1),
        )
    ]
    for runs in (ended, [run for run in reversed(ended)]):
        await house.owner.execute("TRUNCATE playbook.run")
        async with house.database.transaction([WORKSPACE]) as connection:
            await insert_runs(connection, runs)
            assert await load_last_runs(connection, [KEY], PLAYBOOKS) == {
                KEY: [PastRun("usage-decline", 1, Band.RED, NOW)]
            }
