"""What a run does when its next step is due."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import AccountChanged, Band, Channel, Tier
from services.playbook.domain.runs import Ended, Outcome, Run
from services.playbook.domain.steps import Progress, advance
from tests.unit.playbook.examples import NOW, TIERS, account_silent, band_changed, snapshot, usage_decline, went_silent

REALLY = datetime.fromisoformat("2026-11-21T10:00:00+00:00")


SMALL = {"segment": "small_business"}
SEGMENTS = {Tier.HIGH: "enterprise", Tier.LOW: "mid_market", Tier.TECH: "small_business"}


def _advance(run: Run, as_of: datetime = NOW, account: AccountChanged | None = None) -> Progress:
    """``account`` is where the run began, unless it says otherwise."""
    return advance(
        run, account or snapshot(1, segment=SEGMENTS[run.tier]), TIERS, as_of=as_of, step_due_really_at=REALLY
    )


def test_high_touch_tells_the_channel_at_once_with_every_fact_and_then_waits() -> None:
    finding = band_changed(Band.RED)
    progress = _advance(Run.of(usage_decline(version=4), Tier.HIGH, finding, NOW), NOW, snapshot(7))
    [touch] = progress.touches
    assert (touch.channel, touch.recipient, touch.template) == (Channel.SLACK, "#csm", "usage-decline")
    assert (touch.playbook, touch.playbook_version, touch.step, touch.tier) == ("usage-decline", 4, 0, Tier.HIGH)
    assert (touch.account_version, touch.run_id) == (7, progress.run.run_id)
    assert (touch.requested_at, touch.due_at) == (NOW, finding.due_at)
    assert touch.fresh_until == finding.as_of + timedelta(days=5)
    facts = touch.facts
    assert (facts.account_name, facts.segment, facts.stage) == ("Acme & Sons", "enterprise", "adoption")
    assert (facts.arr, facts.owner, facts.contact_name) == (120_000.0, "Hana Mori", "Ken Abe")
    assert (facts.renewal_date, facts.days_to_renewal) == (snapshot().renewal_date, 90)
    assert (facts.band_before, facts.band, facts.score_before, facts.score) == (Band.GREEN, Band.RED, 82.0, 61.0)
    assert (facts.reasons, facts.trend) == (finding.reasons, finding.trend)
    assert facts.finding == "Health went from green to red, score 82 → 61"
    assert progress.run.is_open
    assert (progress.run.step, progress.run.next_step_at) == (2, NOW + timedelta(days=30))


def test_low_touch_tells_the_pool() -> None:
    [touch] = _advance(Run.of(usage_decline(), Tier.LOW, band_changed(), NOW)).touches
    assert touch.recipient == "#csm-pool"


def test_tech_touch_waits_and_then_writes_to_the_contact_of_that_moment() -> None:
    waiting = _advance(Run.of(usage_decline(), Tier.TECH, band_changed(), NOW))
    assert (waiting.touches, waiting.ended) == ((), None)
    assert waiting.run.next_step_at == NOW + timedelta(days=14)
    early = _advance(waiting.run, NOW + timedelta(days=13.9))
    assert early.run == waiting.run
    later = NOW + timedelta(days=14, hours=1)
    [touch] = _advance(waiting.run, later, snapshot(9, contact_email="new@acme.example", **SMALL)).touches
    assert (touch.channel, touch.recipient, touch.requested_at) == (Channel.EMAIL, "new@acme.example", later)
    assert touch.due_at == REALLY, "the step's own moment: it has waited"
    assert touch.fresh_until == NOW + timedelta(days=19)


def test_silence_in_tech_touch_writes_at_once() -> None:
    finding = went_silent()
    [touch] = _advance(Run.of(account_silent(), Tier.TECH, finding, NOW)).touches
    assert (touch.channel, touch.recipient) == (Channel.EMAIL, "ken@acme.example")
    assert touch.facts.last_activity_at == finding.last_activity_at
    assert touch.facts.finding == "Nobody has been active since 22 April 2026; activity was due by 4 May 2026"


def test_an_account_without_a_contact_is_passed_on_so_that_it_is_recorded() -> None:
    run = Run.of(account_silent(), Tier.TECH, went_silent(), NOW)
    [touch] = _advance(run, NOW, snapshot(1, contact_email=None, **SMALL)).touches
    assert touch.recipient is None


def test_a_run_ends_after_its_last_wait() -> None:
    run = _advance(Run.of(account_silent(), Tier.HIGH, went_silent(), NOW)).run
    end = NOW + timedelta(days=30)
    progress = _advance(run, end)
    assert (progress.run.outcome, progress.run.ended_at, progress.touches) == (Outcome.STEPS_DONE, end, ())


def test_a_touch_that_is_due_too_long_ago_is_withheld_and_the_run_goes_on() -> None:
    run = Run.of(usage_decline(), Tier.HIGH, band_changed(), NOW)
    late = NOW + timedelta(days=5, seconds=1)
    progress = _advance(run, late)
    assert progress.touches == ()
    [withheld] = progress.withheld
    assert (withheld.step, withheld.channel, withheld.due_at) == (0, Channel.SLACK, NOW)
    assert progress.run.next_step_at == late + timedelta(days=30)


def test_a_wait_counts_from_when_it_began_so_that_lateness_brings_no_touch_closer() -> None:
    steps: dict[str, Any] = {
        tier: [{"slack": "a"}, {"wait_days": 3}, {"slack": "b"}, "end"]
        for tier in ("high_touch", "low_touch", "tech_touch")
    }
    run = Run.of(usage_decline(steps=steps), Tier.HIGH, band_changed(), NOW)
    late = NOW + timedelta(days=4)
    first = _advance(run, late)
    assert len(first.touches) == 1
    assert first.run.next_step_at == late + timedelta(days=3)


def test_the_id_of_a_touch_follows_from_run_step_and_recipient() -> None:
    run = Run.of(usage_decline(), Tier.HIGH, band_changed(), NOW)
    [one], [same] = _advance(run).touches, _advance(run, NOW + timedelta(hours=5), snapshot(4)).touches
    [elsewhere] = _advance(Run.of(usage_decline(), Tier.LOW, band_changed(), NOW)).touches
    [next_episode] = _advance(Run.of(usage_decline(), Tier.HIGH, band_changed(episode=2), NOW)).touches
    assert one.id == same.id
    assert len({one.id, elsewhere.id, next_episode.id}) == 3


def test_an_account_that_has_moved_to_another_tier_is_told_as_that_tier_does() -> None:
    waiting = _advance(Run.of(usage_decline(), Tier.TECH, band_changed(), NOW), account=snapshot(1, **SMALL)).run
    later = NOW + timedelta(days=14)
    moved = _advance(waiting, later, snapshot(2, segment="enterprise"))
    assert moved.touches == (), "the customer of an enterprise account gets no mail of ours"
    assert (moved.run.outcome, moved.run.ended_at, moved.run.tier) == (Outcome.TIER_CHANGED, later, Tier.TECH)
    assert moved.ended == Ended(moved.run, "the account has moved from tech touch to high touch")
    run = moved.successor
    assert run is not None
    assert (run.tier, run.step, run.started_at, run.is_open) == (Tier.HIGH, 0, later, True)
    assert (run.playbook, run.finding) == (waiting.playbook, waiting.finding)
    assert run.run_id != waiting.run_id
    [touch] = _advance(run, later, snapshot(2, segment="enterprise")).touches
    assert (touch.channel, touch.recipient, touch.tier) == (Channel.SLACK, "#csm", Tier.HIGH)
    assert touch.due_at == REALLY, "it is not the finding that it is late for"
    assert touch.fresh_until == later + timedelta(days=5)


def test_an_account_that_has_moved_after_it_was_told_is_not_told_again() -> None:
    told = _advance(Run.of(usage_decline(), Tier.HIGH, band_changed(), NOW)).run
    later = _advance(told, NOW + timedelta(days=30), snapshot(2, **SMALL))
    assert (later.touches, later.run.outcome) == ((), Outcome.STEPS_DONE)
    assert (later.ended, later.successor) == (Ended(later.run, "all its steps are done"), None)


def test_a_touch_that_is_too_late_stays_unsaid_in_the_other_tier_too() -> None:
    waiting = _advance(Run.of(usage_decline(), Tier.TECH, band_changed(), NOW), account=snapshot(1, **SMALL)).run
    progress = _advance(waiting, NOW + timedelta(days=20), snapshot(2, segment="enterprise"))
    assert (len(progress.withheld), progress.touches, progress.ended, progress.successor) == (1, (), None, None)


def test_tiers_that_come_and_go_make_a_run_each() -> None:
    run = Run.of(usage_decline(), Tier.HIGH, band_changed(), NOW)
    ids = {run.run_id}
    for version, tier in enumerate([Tier.LOW, Tier.HIGH, Tier.LOW, Tier.HIGH], 2):
        successor = _advance(run, NOW, snapshot(version, segment=SEGMENTS[tier])).successor
        assert successor is not None
        assert successor.tier is tier
        run = successor
        ids.add(run.run_id)
    assert len(ids) == 5


@given(st.lists(st.floats(0, 60), min_size=1, max_size=40), st.sampled_from(list(Tier)))
def test_however_often_and_late_a_run_is_looked_at_each_step_is_done_once(gaps: list[float], tier: Tier) -> None:
    run = Run.of(usage_decline(), tier, band_changed(), NOW)
    as_of, ids, steps = NOW, [], []
    for gap in gaps:
        as_of += timedelta(days=gap)
        progress = _advance(run, as_of)
        ids += [touch.id for touch in progress.touches]
        steps += [touch.step for touch in progress.touches] + [withheld.step for withheld in progress.withheld]
        assert progress.run.step >= run.step
        run = progress.run
    assert len(ids) == len(set(ids)) <= 1
    assert steps == sorted(set(steps))
