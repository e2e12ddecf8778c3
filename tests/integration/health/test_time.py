"""Time never runs ahead of the log."""

from __future__ import annotations

from libs.common.events import AccountWentSilent
from libs.common.topics import Topic
from tests.integration.health.world import DAY, HOUR, World


async def test_nobody_is_scored_while_it_is_not_known_how_far_the_log_was_read(here: World) -> None:
    await here.tell(here.routine("acme", ["ann"], here.clock.at - 9 * DAY, days=9))
    await here.work()
    assert await here.rows("SELECT FROM account") == []
    await here.read_up_to(here.clock.at)
    # One partition that nobody has read yet is enough.
    await here.rows("UPDATE consumer_position SET caught_up_to = NULL WHERE topic = 'telemetry' AND partition = 7")
    await here.work()
    assert await here.rows("SELECT FROM account") == []
    await here.settle()
    assert len(await here.rows("SELECT FROM account")) == 1


async def test_ten_days_down_under_traffic_calls_nobody_silent_who_was_not(here: World) -> None:
    await here.establish("acme", "bolt", "quiet")
    slept_at = here.clock.at
    here.clock.advance(12 * DAY)
    # Awake again. All that happened waits on the log, and is read partition by partition.
    scored = await here.rows("SELECT account_id, scored_at FROM account ORDER BY 1")
    await here.work()
    backlog = {
        account: here.routine(account, [f"{account}-{n}" for n in range(3)], slept_at, days=13)
        for account in ("acme", "bolt")
    }
    for account in ("acme", "bolt"):
        await here.tell(backlog[account])
        await here.work()
        # Everybody's time stands still until the last partition has been read.
        assert await here.rows("SELECT account_id, scored_at FROM account ORDER BY 1") == scored
    await here.settle()
    assert {event.account_id for event in await here.findings()} == {"quiet"}
    assert [event for event in await here.findings() if isinstance(event, AccountWentSilent)] != []
    assert {row["account_id"] for row in await here.rows("SELECT * FROM account WHERE silent_since IS NULL")} == {
        "acme",
        "bolt",
    }


async def test_a_backfill_that_is_still_read_delays_no_news(here: World) -> None:
    await here.establish("acme")
    before = await here.account("acme")
    here.clock.advance(HOUR)
    await here.read_up_to(here.clock.at, [Topic.TELEMETRY])
    ticket = {"priority": "urgent", "ticket_id": 1}
    await here.tell([here.track("Ticket Opened", "acme-1", here.clock.at, properties=ticket)])
    await here.work()
    after = await here.account("acme")
    assert after["score"] < before["score"]
    assert after["as_of"] == here.clock.at


async def test_silence_waits_for_imports_that_are_not_read_yet(here: World) -> None:
    """Its people may have spoken in what a nightly import brings."""
    await here.establish("acme")
    last_read = here.clock.at
    here.clock.advance(12 * DAY)
    await here.read_up_to(here.clock.at, [Topic.TELEMETRY])
    machine = here.track("Invoice Sent", None, here.clock.at, account_id="acme")
    await here.tell([machine])
    await here.work()
    account = await here.account("acme")
    assert account["as_of"] == here.clock.at
    assert account["silent_since"] is None
    assert [event for event in await here.findings() if isinstance(event, AccountWentSilent)] == []
    (schedule,) = await here.rows("SELECT due_at FROM schedule")
    assert last_read < schedule["due_at"] < here.clock.at
    await here.settle()
    (silent,) = [event for event in await here.findings() if isinstance(event, AccountWentSilent)]
    assert silent.expected_by == schedule["due_at"] == silent.due_at
