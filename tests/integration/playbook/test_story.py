"""Who is told what: the cases of the demo and their neighbours, from finding to touch."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest

from libs.common.events import Band, Channel, Event, Tier, TouchRequested
from tests.integration.playbook.conftest import House
from tests.unit.playbook.examples import (
    ACCOUNT,
    NOW,
    account_silent,
    band_changed,
    catalogue,
    delivered,
    failed,
    snapshot,
    suppressed,
    usage_decline,
    went_silent,
)


async def test_a_large_account_declines_and_one_alert_goes_out_for_the_whole_episode(house: House) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    await house.do_steps()
    [touch] = await house.touches()
    assert (touch.channel, touch.recipient, touch.tier) == (Channel.SLACK, "#csm", Tier.HIGH)
    house.clock.advance(timedelta(days=6))
    worse = band_changed(Band.RED, Band.YELLOW, version=2, as_of=house.clock.at)
    await house.tell(worse, snapshot(2, band=Band.RED))
    await house.after(days=7)
    assert len(await house.touches()) == 1
    assert [kind for kind, _ in await house.timeline()] == [
        "finding",
        "run_started",
        "touch_requested",
        "finding",
        "run_not_started",
    ]
    assert (await house.timeline())[-1][1] == (
        "Usage decline did not start: its run since 4 May 2026 is still open, so nobody is told again"
    )


async def test_a_small_account_falls_silent_and_gets_one_email_though_it_declined_before(house: House) -> None:
    small = {"segment": "small_business"}
    await house.tell(snapshot(1, **small), band_changed(version=1))
    await house.after(days=5)
    assert await house.touches() == []
    house.clock.advance(timedelta(days=3))
    await house.tell(snapshot(2, band=Band.RED, silent=True, **small), went_silent(version=2, as_of=house.clock.at))
    await house.tell(band_changed(Band.RED, Band.YELLOW, version=2, as_of=house.clock.at))
    await house.do_steps()
    for _ in range(20):
        await house.after(days=3)
    [touch] = await house.touches()
    assert (touch.channel, touch.recipient, touch.template) == (Channel.EMAIL, "ken@acme.example", "account-silent")
    assert await house.runs() == [("usage-decline", "ended", "superseded"), ("account-silent", "ended", "steps_done")]
    assert [title for kind, title in await house.timeline() if kind.startswith("run_")] == [
        "Usage decline started (tech touch): Health went from green to yellow, score 82 → 61",
        "Usage decline ended: Account silent goes first",
        "Account silent started (tech touch): "
        "Nobody has been active since 30 April 2026; activity was due by 12 May 2026",
        "Usage decline did not start: Account silent is under way and goes first",
        "Account silent ended: all its steps are done",
    ]


async def test_a_score_that_falls_inside_its_band_tells_nobody(house: House) -> None:
    await house.tell(snapshot(1, band=Band.GREEN, score=88.0))
    await house.tell(snapshot(2, band=Band.GREEN, score=79.5))
    await house.after(days=40)
    assert await house.published() == []
    assert await house.runs() == []


async def test_an_account_that_grows_tells_nobody(house: House) -> None:
    await house.tell(snapshot(1, band=Band.YELLOW))
    await house.tell(snapshot(2, band=Band.GREEN), band_changed(Band.GREEN, Band.YELLOW, version=2))
    await house.after(days=40)
    assert await house.published() == []
    assert [kind for kind, _ in await house.timeline()] == ["finding"]


async def test_decline_in_tech_touch_writes_after_its_wait_unless_the_account_recovers(house: House) -> None:
    small = {"segment": "small_business"}
    await house.tell(snapshot(1, **small), band_changed(version=1))
    await house.tell(
        snapshot(1, account_id="other", **small), band_changed(version=1, account_id="other", id="band of another")
    )
    await house.do_steps()
    await house.after(days=10)
    await house.tell(snapshot(2, account_id="other", band=Band.GREEN, **small))
    await house.after(days=4)
    [touch] = await house.touches()
    assert (touch.account_id, touch.channel, touch.template) == (ACCOUNT, Channel.EMAIL, "usage-decline")
    assert [title for _, title in await house.timeline("other")][
        -1
    ] == "Usage decline ended: the account is green again"


async def test_an_account_that_has_become_large_is_told_to_its_manager_and_not_to_the_customer(house: House) -> None:
    await house.tell(snapshot(1, segment="small_business"), band_changed(version=1))
    await house.do_steps()
    await house.after(days=7)
    await house.tell(snapshot(2, segment="enterprise"))
    await house.after(days=7)
    [touch] = await house.touches()
    assert (touch.channel, touch.recipient, touch.tier) == (Channel.SLACK, "#csm", Tier.HIGH)
    assert await house.runs() == [("usage-decline", "ended", "tier_changed"), ("usage-decline", "open", None)]
    assert [title for _, title in await house.timeline()][1:] == [
        "Usage decline started (tech touch): Health went from green to yellow, score 82 → 61",
        "Usage decline ended: the account has moved from tech touch to high touch",
        "Usage decline started (high touch): Health went from green to yellow, score 82 → 61",
        "Requested: Slack message to #csm",
    ]
    await house.tell(band_changed(version=1), band_changed(Band.RED, Band.YELLOW, version=2, as_of=house.clock.at))
    await house.after(days=30)
    assert len(await house.touches()) == 1
    assert [state for _, state, _ in await house.runs()] == ["ended", "ended"]


async def test_what_the_old_tier_had_not_sent_yet_is_taken_back(house: House) -> None:
    tiers = ("high_touch", "low_touch", "tech_touch")
    twice = {tier: [{"email": "first"}, {"wait_days": 3}, {"email": "second"}, "end"] for tier in tiers}
    talkative = house.edited(catalogue(usage_decline(steps=twice | {"high_touch": [{"slack": "only"}, "end"]})))
    await talkative.tell(snapshot(1, segment="small_business"), band_changed(version=1))
    await talkative.do_steps()
    await talkative.tell(snapshot(2, segment="enterprise"))
    await talkative.after(days=3)
    assert [touch.template for touch in await house.touches()] == ["first", "only"]
    [cancelled] = await house.cancelled()
    assert cancelled.reason == "the account has moved from tech touch to high touch"


async def test_a_finding_before_its_snapshot_waits_for_it(house: House) -> None:
    await house.tell(band_changed(version=4))
    await house.tell(snapshot(3, segment="small_business"))
    await house.do_steps()
    assert await house.runs() == []
    await house.tell(snapshot(4))
    await house.do_steps()
    [touch] = await house.touches()
    assert (touch.tier, touch.account_version) == (Tier.HIGH, 4)
    assert (await house.everything())["waiting_finding"] == []


async def test_an_old_finding_is_recorded_and_starts_nothing(house: House) -> None:
    await house.tell(snapshot(1), band_changed(version=1, as_of=NOW - timedelta(days=6)))
    await house.do_steps()
    assert await house.published() == []
    assert (await house.timeline())[-1] == (
        "run_not_started",
        "Usage decline did not start: the finding is of 28 April 2026, more than 5 days ago",
    )


async def test_steps_that_come_due_while_everything_stands_still_are_withheld_when_they_are_too_old(
    house: House,
) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    await house.after(days=6)
    assert await house.touches() == []
    assert (await house.timeline())[-1] == (
        "touch_withheld",
        "Slack withheld: it was due on 4 May 2026, more than 5 days ago",
    )


async def test_a_new_episode_within_the_cool_down_tells_nobody_and_after_it_somebody(house: House) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    await house.after(days=1)
    await house.tell(snapshot(2, band=Band.GREEN))
    house.clock.advance(timedelta(days=10))
    await house.tell(snapshot(3), band_changed(version=3, episode=2, as_of=house.clock.at))
    await house.do_steps()
    assert len(await house.touches()) == 1
    assert (await house.timeline())[-1] == (
        "run_not_started",
        "Usage decline did not start: it is cooling down until 4 June 2026",
    )
    await house.tell(snapshot(4, band=Band.GREEN))
    house.clock.advance(timedelta(days=20))
    await house.tell(snapshot(5), band_changed(version=5, episode=3, as_of=house.clock.at))
    await house.do_steps()
    assert len({touch.id for touch in await house.touches()}) == 2


async def test_yellow_in_january_and_red_in_september_without_green_between_are_told_both(house: House) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    await house.do_steps()
    await house.after(days=30)
    await house.after(days=200)
    red = band_changed(Band.RED, Band.YELLOW, version=2, as_of=house.clock.at)
    await house.tell(snapshot(2, band=Band.RED), red)
    await house.do_steps()
    await house.after(days=30)
    await house.after(days=200)
    better_and_red_again = [
        band_changed(Band.YELLOW, Band.RED, version=3, as_of=house.clock.at),
        band_changed(Band.RED, Band.YELLOW, version=4, as_of=house.clock.at),
    ]
    await house.tell(snapshot(4, band=Band.RED), *better_and_red_again)
    await house.tell(red)
    await house.do_steps()
    assert [touch.facts.band for touch in await house.touches()] == [Band.YELLOW, Band.RED]
    assert len({touch.id for touch in await house.touches()}) == 2
    assert "Usage decline did not start: it has run for red in this episode already" in [
        title for _, title in await house.timeline()
    ]


async def test_a_run_that_is_not_needed_any_more_takes_back_what_was_not_sent(house: House) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    await house.do_steps()
    [touch] = await house.touches()
    await house.tell(snapshot(2, band=Band.GREEN))
    [cancelled] = await house.cancelled()
    assert (cancelled.touch_id, cancelled.reason) == (touch.id, "the account is green again")
    assert [kind for kind, _ in await house.timeline()][-2:] == ["run_ended", "touch_cancelled"]


async def test_what_was_delivered_is_not_taken_back(house: House) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    await house.do_steps()
    [touch] = await house.touches()
    await house.tell(delivered(touch))
    await house.tell(snapshot(2, band=Band.GREEN))
    assert await house.cancelled() == []


@pytest.mark.parametrize(
    ("result", "state", "title"),
    [
        (delivered, "delivered", "Delivered: Slack message to #csm"),
        (partial(failed, reason="channel_not_found"), "failed", "Failed: Slack message to #csm: channel_not_found"),
        (
            partial(suppressed, reason="observe"),
            "suppressed",
            "Not sent: Slack message to #csm: this installation only observes so far",
        ),
        (partial(suppressed, reason="something_new"), "suppressed", "Not sent: Slack message to #csm: something_new"),
    ],
)
async def test_what_became_of_a_touch_is_on_the_run_and_on_the_timeline(
    house: House, result: Callable[[TouchRequested], Event], state: str, title: str
) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    await house.do_steps()
    [touch] = await house.touches()
    await house.tell(result(touch))
    [row] = await house.owner.fetch("SELECT state, settled_at FROM playbook.touch")
    assert (row["state"], row["settled_at"]) == (state, NOW)
    assert (await house.timeline())[-1][1] == title


async def test_results_of_one_touch_may_come_in_any_order(house: House) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    await house.do_steps()
    [touch] = await house.touches()
    await house.tell(delivered(touch))
    await house.tell(suppressed(touch, "cancelled"))
    assert await house.owner.fetchval("SELECT state FROM playbook.touch") == "delivered"


async def test_a_running_run_keeps_the_version_it_started_with(house: House) -> None:
    small = {"segment": "small_business"}
    await house.tell(snapshot(1, **small), band_changed(version=1))
    await house.do_steps()
    tiers = ("high_touch", "low_touch", "tech_touch")
    edited = house.edited(
        catalogue(
            usage_decline(version=2, steps={tier: [{"email": "another"}, "end"] for tier in tiers}, cool_down_days=0),
            account_silent(),
        )
    )
    await edited.after(days=14)
    [touch] = await house.touches()
    assert (touch.playbook_version, touch.template) == (1, "usage-decline")
    await edited.tell(snapshot(2, band=Band.GREEN, **small))
    await edited.tell(snapshot(3, **small), band_changed(version=3, episode=2, as_of=edited.clock.at))
    await edited.do_steps()
    assert [(t.playbook_version, t.template) for t in await house.touches()] == [(1, "usage-decline"), (2, "another")]


async def test_a_playbook_that_is_gone_finishes_its_runs(house: House) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    only_silent = house.edited(catalogue(account_silent()))
    await only_silent.do_steps()
    await only_silent.after(days=30)
    assert await house.runs() == [("usage-decline", "ended", "steps_done")]
    assert len(await house.touches()) == 1
