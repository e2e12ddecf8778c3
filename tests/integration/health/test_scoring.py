"""What an account's score follows from, what is told of it, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from libs.common.events import AccountChanged, AccountWentSilent, Band, HealthBandChanged
from services.health.domain import HealthModel
from services.health.tally import Lane
from tests.integration.health.world import DAY, HOUR, MONDAY, World


async def test_an_urgent_ticket_lowers_the_score_at_once_and_tells_nobody(here: World) -> None:
    await here.establish("acme")
    before = await here.account("acme")
    assert (before["band"], before["score"]) == ("green", 100)
    await here.tell(
        [
            here.track(
                "Ticket Opened",
                "acme-1",
                here.clock.at,
                properties={"priority": "urgent", "ticket_id": "T1", "text": "private"},
            )
        ]
    )
    await here.settle()
    after = await here.account("acme")
    assert after["band"] == "green"
    assert before["score"] - after["score"] >= 5
    assert after["as_of"] == before["as_of"]
    assert await here.rows("SELECT properties FROM account_occurrence") == [
        {"properties": '{"priority": "urgent", "ticket_id": "T1"}'}
    ]
    await here.tell(
        [here.track("Ticket Closed", None, here.clock.at, account_id="acme", properties={"ticket_id": "T1"})]
    )
    await here.settle()
    assert (await here.account("acme"))["score"] == before["score"]
    assert await here.findings() == []


async def test_silence_is_found_by_the_queue_and_by_no_event(here: World) -> None:
    await here.establish("acme", "bolt")
    told_before = len(await here.told())
    for _ in range(14):
        await here.pass_time(here.clock.at + DAY, step=DAY / 4)
        await here.tell([here.track(f"Feature {n} Used", "bolt-1", here.clock.at) for n in range(3)])
    (silent,) = [event for event in await here.findings() if isinstance(event, AccountWentSilent)]
    assert (silent.account_id, silent.episode) == ("acme", 1)
    # Seven working days after the last activity, on the Friday before the Monday.
    assert silent.last_activity_at == MONDAY - 3 * DAY + timedelta(minutes=21)
    assert silent.expected_by == MONDAY + 8 * DAY + timedelta(minutes=21)
    assert silent.expected_by <= silent.as_of < silent.expected_by + DAY / 4
    assert silent.due_at == silent.expected_by
    assert len(await here.told()) > told_before
    account = await here.account("acme")
    assert account["silent_since"] == silent.expected_by
    assert await _last_snapshot_says_silent(here)
    await here.tell([here.track("Feature 1 Used", "acme-1", here.clock.at)])
    await here.settle()
    assert (await here.account("acme"))["silent_since"] is None
    assert not await _last_snapshot_says_silent(here)


async def _last_snapshot_says_silent(here: World) -> bool | None:
    snapshots = [one for one in await here.told() if isinstance(one, AccountChanged) and one.account_id == "acme"]
    return max(snapshots, key=lambda one: one.version).silent


async def test_a_decline_changes_the_band_once_and_says_why(here: World) -> None:
    await here.establish("acme")
    for _ in range(28):
        await here.pass_time(here.clock.at + DAY, step=DAY)
        if here.clock.at.weekday() < 5:
            await here.tell([here.track("Feature 1 Used", "acme-1", here.clock.at)])
    changed = [event for event in await here.told() if isinstance(event, HealthBandChanged)]
    assert [(event.band_before, event.band) for event in changed] == [
        (Band.GREEN, Band.YELLOW),
        (Band.YELLOW, Band.RED),
    ]
    assert [event.episode for event in changed] == [1, 1]
    first = changed[0]
    assert first.score_before == 100
    assert first.score is not None
    assert first.score < 75
    assert first.reasons[0].measure == "usage_trend"
    assert first.reasons[0].change < 0
    assert first.trend[0] > first.trend[-1]
    assert changed[1].score_before is not None
    assert changed[1].score is not None
    assert 75 > changed[1].score_before > changed[1].score, "the best that stood in yellow"
    assert len({event.id for event in await here.told()}) == len(await here.told())
    snapshot = next(
        event for event in await here.told() if isinstance(event, AccountChanged) and event.band is Band.YELLOW
    )
    assert (snapshot.version, snapshot.as_of) == (first.account_version, first.as_of)
    order = await here.told()
    assert order.index(snapshot) < order.index(first)


async def test_whoever_was_worse_a_month_ago_is_told_by_what_it_loses_now(here: World) -> None:
    """A bad month, a recovery, then nobody comes any more: what has been won since then is no reason."""

    async def workdays(days: int, per_person: int) -> None:
        for _ in range(days):
            at = here.clock.at.replace(hour=10)
            if per_person and at.weekday() < 5:
                here.clock.at = at
                await here.tell(
                    [here.track(f"Feature {n % per_person}", f"acme-{n % 5}", at) for n in range(20)][: 5 * per_person]
                )
                await here.settle()
            here.clock.at = at.replace(hour=1) + DAY
            await here.settle()

    await here.establish("acme", users=5, days=120)
    await workdays(28, 1)
    await workdays(17, 4)
    known = len(await here.findings())
    properties = {"priority": "urgent"}
    tickets = [
        here.track("Ticket Opened", "acme-0", here.clock.at, properties={**properties, "ticket_id": n})
        for n in range(3)
    ]
    await here.tell(tickets)
    await workdays(9, 0)
    findings = (await here.findings())[known:]
    assert {type(finding) for finding in findings} == {HealthBandChanged, AccountWentSilent}
    for finding in findings:
        assert finding.reasons[0].measure == "urgent_tickets"
        assert all(reason.points_lost > 0 for reason in finding.reasons)
        if isinstance(finding, HealthBandChanged):
            assert finding.score is not None
            assert finding.score_before is not None
            assert finding.score_before > finding.score


def _restart_with(here: World, **bands: float) -> None:
    edited = {**here.rules.model.model_dump(by_alias=True), "bands": {**here.rules.model.bands.model_dump(), **bands}}
    here.rules = replace(here.rules, model=HealthModel.model_validate(edited))
    here.score_worker = here.another_score_worker()


async def test_a_model_that_is_edited_every_night_hides_no_decline(here: World) -> None:
    await here.establish("acme", users=5, days=120)
    for night in range(9):
        _restart_with(here, patience_hours=24.0 + night)
        await here.pass_time(here.clock.at + DAY, step=DAY / 2)
    changed = [event for event in await here.findings() if isinstance(event, HealthBandChanged)]
    assert [(event.band_before, event.band) for event in changed] == [(Band.GREEN, Band.YELLOW)]
    assert changed[0].reasons[0].measure == "usage_trend"


async def test_what_only_an_edited_model_sees_is_told_neither_at_once_nor_a_day_later(here: World) -> None:
    await here.establish("acme")
    await here.tell([here.track("Ticket Opened", "acme-1", here.clock.at, properties={"priority": "urgent"})])
    await here.settle()
    _restart_with(here, green_from=90)
    await here.pass_time(here.clock.at + 2 * DAY, step=DAY / 4)
    assert (await here.account("acme"))["band"] == "yellow"
    assert await here.findings() == []


async def test_an_import_begins_no_patience(here: World) -> None:
    """Of an imported past, busier than was known, so that now looks just below green."""
    await here.establish("acme")
    past = [here.clock.at - days * DAY for days in range(28, 86)]
    await here.tell(
        [
            here.track(f"Feature {n} Used", f"acme-{user}", at, historical=True, received_at=here.clock.at)
            for at in past
            if at.weekday() < 5
            for user in range(3)
            for n in range(3 if at.weekday() == 0 else 2)
        ]
    )
    await here.settle()
    account = await here.account("acme")
    assert (account["band"], 72 < account["score"] < 75) == ("yellow", True)
    await here.pass_time(here.clock.at + 30 * HOUR, step=6 * HOUR)
    assert await here.findings() == []


async def test_a_score_alone_is_told_at_most_hourly_and_then_the_latest(here: World) -> None:
    await here.establish("acme")
    versions = [event.version for event in await here.told() if isinstance(event, AccountChanged)]
    for n in range(3):
        await here.tell(
            [here.track("Ticket Opened", "acme-1", here.clock.at, properties={"priority": "urgent", "ticket_id": n})]
        )
        await here.settle()
    assert [event.version for event in await here.told() if isinstance(event, AccountChanged)] == versions
    (owed,) = await here.rows("SELECT publish_at - told_at AS wait FROM schedule JOIN account USING (account_id)")
    assert owed["wait"] == HOUR
    await here.rows("UPDATE account SET told_at = told_at - interval '1 hour'")
    await here.rows("UPDATE schedule SET publish_at = publish_at - interval '1 hour'")
    await here.settle()
    latest = [event for event in await here.told() if isinstance(event, AccountChanged)][-1]
    assert (latest.version, latest.score) == (versions[-1] + 1, (await here.account("acme"))["score"])
    assert (await here.rows("SELECT publish_at FROM schedule")) == [{"publish_at": None}]


async def test_another_field_than_the_score_is_told_at_once(here: World) -> None:
    await here.establish("acme")
    await here.tell([here.group(None, "acme", here.clock.at, traits={"Owner": "kim", "arr": "60,000"})])
    await here.settle()
    latest = [event for event in await here.told() if isinstance(event, AccountChanged)][-1]
    assert (latest.owner, latest.arr, latest.segment) == ("kim", 60_000, "enterprise")


async def test_a_late_event_corrects_the_score_and_raises_no_alert_about_the_past(here: World) -> None:
    await here.establish("acme")
    await here.pass_time(here.clock.at + 5 * DAY, step=DAY)
    before = await here.account("acme")
    arrived = here.clock.at
    await here.tell(
        [here.track("Feature 1 Used", "acme-1", MONDAY + DAY, received_at=arrived, source=1) for _ in range(40)]
    )
    await here.settle()
    after = await here.account("acme")
    assert after["last_activity_at"] == MONDAY + DAY
    assert after["trend"] != before["trend"]
    assert await here.findings() == []
    (row,) = await here.rows("SELECT arrival_day::text, n FROM usage WHERE event_day = '2026-03-03'")
    assert row == {"arrival_day": "2026-03-07", "n": 40}


async def test_nothing_is_taken_to_happen_after_it_was_heard_of(here: World) -> None:
    await here.establish("acme")
    await here.tell([here.track("Feature 1 Used", "acme-1", here.clock.at + HOUR, received_at=here.clock.at)])
    await here.settle()
    assert (await here.account("acme"))["last_activity_at"] == here.clock.at


async def test_a_history_is_kept_by_day_and_by_difference(here: World) -> None:
    await here.establish("acme")
    await here.tell([here.track("Feature 1 Used", "acme-1", here.clock.at)])
    await here.settle()
    assert len(await here.rows("SELECT FROM score_history")) == 1
    await here.pass_time(here.clock.at + 2 * DAY, step=DAY / 4)
    days = await here.rows("SELECT as_of::date::text AS day FROM score_history ORDER BY as_of")
    assert [row["day"] for row in days] == ["2026-03-02", "2026-03-03", "2026-03-04"]


async def test_scoring_takes_only_rows_whose_facts_time_has_passed(here: World) -> None:
    await here.establish("acme")
    await here.tell([here.track("Feature 1 Used", "acme-1", here.clock.at + DAY)])
    await here.settle()
    assert [row["lane"] for row in await here.rows("SELECT lane FROM dirty")] == [Lane.LIVE]
    await here.pass_time(here.clock.at + DAY, step=DAY)
    assert await here.rows("SELECT lane FROM dirty") == []
