"""History raises nothing: importing sources, the import lane, and the one moment at which a source goes live."""

from __future__ import annotations

import asyncio

from libs.common.events import AccountChanged, AccountWentSilent, HealthBandChanged
from services.health.store import requests
from services.health.tally import Lane
from tests.integration.health.world import DAY, MONDAY, World


async def _state_of(here: World, source: int = 1) -> bool:
    (row,) = await here.rows("SELECT live_since FROM source WHERE source = $1", source)
    return row["live_since"] is not None


async def test_a_source_is_live_once_all_its_marks_have_been_read(here: World) -> None:
    await here.tell([here.track("Used", "ann", MONDAY - DAY)])
    marks = here.marks()
    await here.read_marks(marks[:23])
    await here.settle()
    assert not await _state_of(here)
    await here.read_marks(marks[5:9])  # again: a source may be marked twice
    await here.settle()
    assert not await _state_of(here)
    await here.read_marks(marks[23:])
    await here.settle()
    assert await _state_of(here)


async def test_the_last_two_marks_may_be_read_side_by_side(here: World) -> None:
    marks = here.marks()
    await here.read_marks(marks[:22])
    async with here.worker_db.transaction([1]) as one, here.worker_db.transaction([1]) as other:
        await here.handlers.on_source_went_live(one, marks[22:23])
        await here.handlers.on_source_went_live(other, marks[23:])
    await here.settle()
    assert await _state_of(here)


async def test_a_source_is_live_only_after_everything_before_it_is_routed(here: World) -> None:
    """Else facts of the past would come as news after the baseline."""
    await here.tell(here.routine("acme", ["ann"], MONDAY - 9 * DAY, days=9))
    await here.go_live()
    async with here.worker_db.transaction() as other_router:
        assert await requests.take(other_router, Lane.LIVE, 500)
        await here.router.route_once()
        assert not await _state_of(here)
    await here.router.route_once()
    assert await _state_of(here)


async def test_what_happened_before_a_source_went_live_is_taken_as_known(here: World) -> None:
    # A decline and a silence, all in the past, some of it told by the live lane.
    history = here.routine("fell", ["a", "b", "c"], MONDAY - 90 * DAY, days=55, historical=True)
    quiet = here.routine("quiet", ["d"], MONDAY - 90 * DAY, days=70)
    await here.tell(history + quiet)
    await here.settle()
    await here.go_live()
    await here.settle()
    assert await here.findings() == []
    assert (await here.account("quiet"))["silent_since"] is not None
    assert (await here.account("fell"))["band"] in ("yellow", "red")
    assert {event.account_id for event in await here.told()} == {"fell", "quiet"}
    await here.pass_time(here.clock.at + 3 * DAY, step=DAY)
    assert [event for event in await here.findings() if isinstance(event, AccountWentSilent)] == []


async def test_news_that_comes_with_the_switch_does_not_tell_the_past(here: World) -> None:
    """The first live event and the baseline are due together; whichever is served first, the past is not news."""
    history = here.routine("fell", ["a", "b", "c"], MONDAY - 90 * DAY, days=90, historical=True)
    await here.tell(history)
    await here.settle()
    here.clock.advance(20 * DAY)
    await here.go_live()
    await here.tell([here.track("Invoice Sent", None, here.clock.at, account_id="fell")])
    await here.settle()
    assert (await here.account("fell"))["band"] != "green"
    assert await here.findings() == []


async def test_scoring_caused_by_imports_alone_is_silent(here: World) -> None:
    await here.establish("acme")
    old_tickets = [
        here.track(
            "Ticket Opened",
            "acme-1",
            MONDAY - DAY,
            properties={"priority": "urgent", "ticket_id": n},
            historical=True,
        )
        for n in range(5)
    ]
    busy_past = here.routine("acme", [f"x{n}" for n in range(20)], MONDAY - 80 * DAY, days=50, historical=True)
    before = len(await here.told())
    await here.tell(old_tickets + busy_past)
    await here.settle()
    assert (await here.account("acme"))["band"] != "green"
    assert {type(event) for event in (await here.told())[before:]} == {AccountChanged}


async def test_imports_and_news_of_one_account_are_scored_apart(here: World) -> None:
    """Else a backfill into a busy account would raise alerts about the past."""
    await here.establish("acme")
    busy_past = here.routine("acme", [f"x{n}" for n in range(20)], MONDAY - 80 * DAY, days=50, historical=True)
    await here.tell(busy_past)
    await here.tell([here.track("Feature 1 Used", "acme-1", here.clock.at)])
    await here.settle()
    assert (await here.account("acme"))["band"] != "green"
    assert await here.findings() == []


async def test_an_importing_source_stays_out_of_accounts_that_have_a_live_one(here: World) -> None:
    await here.establish("acme")
    before = await here.account("acme")
    await here.tell(here.routine("acme", [f"y{n}" for n in range(9)], MONDAY - 80 * DAY, days=50, source=2))
    await here.tell(here.routine("young", ["z"], MONDAY - 80 * DAY, days=80, source=2))
    await here.settle()
    after = await here.account("acme")
    assert (after["score"], after["trend"]) == (before["score"], before["trend"])
    assert (await here.account("young"))["score"] is not None
    await here.go_live(source=2)
    await here.settle()
    assert (await here.account("acme"))["score"] < before["score"]
    assert await here.findings() == []


async def test_after_the_switch_the_present_is_told(here: World) -> None:
    await here.establish("acme")
    await here.pass_time(here.clock.at + 15 * DAY, step=DAY)
    assert {type(event) for event in await here.findings()} == {HealthBandChanged, AccountWentSilent}


async def test_marks_may_be_read_while_the_router_works(here: World) -> None:
    await here.tell(here.routine("acme", ["ann"], MONDAY - 30 * DAY, days=30, historical=True))
    marks = here.marks()
    await here.read_up_to(here.clock.at)
    await asyncio.gather(*(here.read_marks([mark]) for mark in marks[:6]), here.router.route_once())
    await here.read_marks(marks[6:])
    await here.settle()
    assert await _state_of(here)
    assert await here.rows("SELECT FROM dirty") == []


async def test_a_replayed_queue_of_old_events_is_history_too(here: World) -> None:
    """They come by the live lane, and make the usual larger than what the account does now."""
    await here.establish("acme")
    before = await here.account("acme")
    days = [here.clock.at - n * DAY for n in range(29, 85)]
    await here.tell(
        [
            here.track(f"Feature {n} Used", f"acme-{user}", day, received_at=here.clock.at)
            for day in days
            if day.weekday() < 5
            for user in range(3)
            for n in range(8)
        ]
    )
    await here.settle()
    assert (await here.account("acme"))["score"] < before["score"] - 20
    await here.pass_time(here.clock.at + 2 * DAY, step=DAY)
    assert await here.findings() == []
