"""What can lower a score at once waits neither for usage nor with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from services.health.score_worker import Pace, ScoreWorker
from tests.integration.health.world import IMPATIENT, World

HOUR = timedelta(hours=1)


def _worker(here: World, pace: Pace) -> ScoreWorker:
    return ScoreWorker(here.worker_db, here.clock, here.rules, pace)


async def _use(here: World, account: str) -> None:
    await here.tell([here.track("Feature 1 Used", f"{account}-1", here.clock.at)])
    await here.router.route_once()


async def _open_ticket(here: World, account: str) -> None:
    await here.tell([here.track("Ticket Opened", f"{account}-1", here.clock.at, properties={"priority": "urgent"})])
    await here.router.route_once()


async def _with_news(here: World) -> set[str]:
    return {row["account_id"] for row in await here.rows("SELECT account_id FROM dirty")}


async def test_a_ticket_is_scored_while_usage_settles(here: World) -> None:
    await here.establish("acme", "bolt")
    await _use(here, "acme")
    await _open_ticket(here, "bolt")
    assert await _worker(here, replace(IMPATIENT, news_settles=HOUR)).score_round() == 1
    assert await _with_news(here) == {"acme"}
    assert (await here.account("bolt"))["score"] < 100


async def test_a_ticket_takes_the_usage_of_its_account_along(here: World) -> None:
    await here.establish("acme")
    await _use(here, "acme")
    await _open_ticket(here, "acme")
    assert await _worker(here, replace(IMPATIENT, news_settles=HOUR)).score_round() == 1
    assert await _with_news(here) == set()


async def test_usage_rests_after_its_turn_and_a_ticket_does_not(here: World) -> None:
    await here.establish("acme", "bolt", "carl")
    worker = _worker(here, replace(IMPATIENT, usage_rests_for=1_000_000, usage_rests_most=HOUR))
    await _use(here, "acme")
    assert await worker.score_round() == 1
    await _use(here, "bolt")
    assert await worker.score_round() == 0
    await _open_ticket(here, "carl")
    assert await worker.score_round() == 1
    assert await _with_news(here) == {"bolt"}


async def test_one_scoring_that_hangs_does_not_silence_usage(here: World) -> None:
    await here.establish("acme", "bolt")
    worker = _worker(here, replace(IMPATIENT, usage_rests_for=1_000_000, usage_rests_most=timedelta(0)))
    await _use(here, "acme")
    assert await worker.score_round() == 1
    await _use(here, "bolt")
    assert await worker.score_round() == 1
