"""Scoring an account reads what is known of the account, however many others there are."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from tests.conftest import TestDatabase
from tests.integration.health.world import DAY, MONDAY, World, world
from tests.rows_read import many_others, reads_at_most

OTHERS = 30_000
"""Rows of others in each table; each of them its own user, of one of a hundred accounts."""

_OTHERS = [
    "INSERT INTO usage SELECT 1, 'u:other-' || n, '2026-02-20', "
    "CASE WHEN n % 2 = 0 THEN 'many-' || n % 100 ELSE '' END, 'Used', 1, '2026-02-20', 1, '2026-02-20', '2026-02-20'",
    "INSERT INTO group_call SELECT 1, 'u:other-' || n, 'many-' || n % 100, '2026-02-20', '2026-02-20', '2026-02-20', "
    "'2026-02-20'",
    "INSERT INTO identity_link SELECT 1, 'a:other-' || n, 'u:other-' || n, '2026-02-20', '2026-02-20', '2026-02-20', "
    "'2026-02-20'",
    "INSERT INTO user_email SELECT 1, 'u:other-' || n, n || '@example.com'",
    "INSERT INTO occurrence SELECT 1, 1, 'other-' || n, 'u:other-' || n, 'many-' || n % 100, 'Ticket Opened', "
    "'2026-02-20', '2026-02-20', '2026-02-20', '2026-02-20', '{}'",
    "INSERT INTO account_trait SELECT 1, 'other-' || n, 1, '', '2026-02-20', '2026-02-20', '{}', '2026-02-20', "
    "'2026-02-20'",
    "INSERT INTO account_usage SELECT 1, 'other-' || n, '2026-02-20', 'u:other-' || n, 'Used', 1, 'u:other-' || n, 1, "
    "'2026-02-20', '2026-02-20'",
    "INSERT INTO account_day SELECT 1, 'other-' || n, '2026-02-20', 'Used', 1, 1, '2026-02-20', 1, '2026-02-20', "
    "'2026-02-20'",
    "INSERT INTO account_people SELECT 1, 'other-' || n, '2026-02-20', 1, ARRAY['u:other-' || n], '2026-02-20', "
    "'2026-02-20'",
    "INSERT INTO account_occurrence SELECT 1, 'other-' || n, '2026-02-20', 'u:other-' || n, 1, 'other-' || n, "
    "'Ticket Opened', '2026-02-20', '{}'",
    "INSERT INTO schedule SELECT 1, 'other-' || n, '2027-01-01', NULL, '-infinity'",
]


async def _live(here: World) -> None:
    """What a day brings: people at work, one of them anonymous before, another with two addresses, and a ticket."""
    here.clock.at = MONDAY + timedelta(minutes=1)
    at = here.clock.at - timedelta(seconds=10)
    await here.tell(
        [
            *(here.track("Feature 1 Used", f"acme-{n}", at) for n in range(3)),
            here.identify("acme-0", at, anonymous_id="browser-1", traits={"email": "one@acme.example"}),
            here.identify("acme-1", at, traits={"email": "two@acme.example"}),
            here.alias("before", "acme-2", at),
            here.track("Feature 2 Used", None, at, anonymous_id="browser-1"),
            here.track("Ticket Opened", "acme-0", at, account_id="acme", properties={"priority": "high"}),
            here.group("acme-3", "acme", at),
        ]
    )


async def _history(here: World) -> None:
    """Two months of thirty people, all at once."""
    first = here.clock.at - 60 * DAY
    people = [f"old-{n}" for n in range(30)]
    for day in range(60):
        at = first + day * DAY
        await here.tell([here.track("Feature 1 Used", one, at, account_id="past", historical=True) for one in people])


@pytest.mark.parametrize(("bring", "most"), [(_live, 500), (_history, 20_000)], ids=["live", "history"])
async def test_others_are_not_read(
    database: TestDatabase, bring: Callable[[World], Awaitable[None]], most: int
) -> None:
    async with world(database) as before:
        await before.establish("acme", days=20)
    async with many_others(database, "health", _OTHERS, OTHERS) as owner:
        async with reads_at_most(most, owner), world(database) as here:
            await bring(here)
            await here.read_up_to(here.clock.now())
            while await here.router.route_once() or await here.score_worker.score_round():
                pass
        assert await owner.fetchval("SELECT count(*) FROM dirty") == 0
