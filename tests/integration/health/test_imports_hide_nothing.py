"""Imported rows tell nothing, and must not swallow what is to be told: what time has brought about is settled first."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from libs.common.events import AccountWentSilent, HealthBandChanged
from tests.conftest import TestDatabase
from tests.integration.health.world import DAY, HOUR, MONDAY, World, world


@pytest.fixture
async def before_breakfast(database: TestDatabase) -> AsyncIterator[World]:
    """At half past one, when every account's daily moment has passed."""
    async with world(database, MONDAY.replace(hour=1, minute=30)) as here:
        yield here


async def test_a_nightly_synchronisation_hides_no_decline(before_breakfast: World) -> None:
    here = before_breakfast
    await here.establish("acme", users=10, days=120)
    monday = here.clock.at.replace(hour=10, minute=0)
    for n in range(9):
        here.clock.at = monday + n * DAY
        if here.clock.at.weekday() < 5:
            await here.tell([here.track("Feature 0 Used", "acme-0", here.clock.at)])
        await here.settle()
        # Ten seconds after midnight, before the account's own moment of the day.
        here.clock.at = (here.clock.at + DAY).replace(hour=0, minute=0, second=10)
        synchronised = {"seats": 10, "synced": here.clock.at.isoformat()}
        await here.tell([here.group(None, "acme", here.clock.at, traits=synchronised, historical=True)])
        await here.settle()
        here.clock.at = here.clock.at.replace(hour=1, minute=30)
        await here.settle()
    assert [type(finding) for finding in await here.findings()] == [HealthBandChanged]


async def test_imported_rows_of_thirty_silent_accounts_hide_no_silence(before_breakfast: World) -> None:
    here = before_breakfast
    accounts = [f"account-{n:02}" for n in range(30)]
    await here.establish(*accounts, users=1, days=60)
    here.clock.at = (here.clock.at + 12 * DAY).replace(hour=14)
    await here.tell(
        [here.group(None, one, here.clock.at - HOUR, traits={"seats": 1}, historical=True) for one in accounts]
    )
    await here.settle()
    silent = [finding.account_id for finding in await here.findings() if isinstance(finding, AccountWentSilent)]
    assert sorted(silent) == accounts
