"""What the bench's scenarios find when they begin is what they say it is."""

from __future__ import annotations

from datetime import UTC, datetime
from statistics import mean

import asyncpg

from bench.fill import Crowd, fill_claims
from libs.common.ddl import CLAIM_WINDOW_DAYS
from libs.common.events import encode
from services.ingest.bootstrap import Installed
from tests.conftest import TestDatabase

KEYS = Installed(workspace=1, source=1, write_key="", api_key="")
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_calls_are_of_the_accounts_asked_for_unique_and_as_long_as_real_ones() -> None:
    events = list(Crowd(7).events(KEYS, 2000, NOON, 60, seed=1))

    assert len(events) == len({event.id for event in events}) == 2000
    assert len({event.account_id for event in events}) == 7
    assert len({event.user_id for event in events}) == 70
    assert 280 <= mean(len(encode(event)) for event in events) <= 400
    assert events[0].occurred_at == NOON < events[-1].occurred_at


def test_the_same_seed_gives_the_same_calls_and_another_one_others() -> None:
    first, again, other = (list(Crowd(7).events(KEYS, 50, NOON, 60, seed=seed)) for seed in (1, 1, 2))

    assert first == again
    assert not {event.id for event in first} & {event.id for event in other}


async def test_claims_are_spread_over_the_days_that_a_claim_is_looked_for_in(database: TestDatabase) -> None:
    await fill_claims(database.owner_url, "health", 800)

    owner = await asyncpg.connect(database.owner_url)
    try:
        slots = [row["slot"] for row in await owner.fetch("SELECT slot FROM health.claim_day ORDER BY day")]
        filled = [await owner.fetchval(f"SELECT count(*) FROM health.claim_{slot}") for slot in slots]
    finally:
        await owner.close()
    assert filled == [100] * (CLAIM_WINDOW_DAYS + 1)
