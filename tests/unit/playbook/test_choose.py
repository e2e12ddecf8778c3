"""Which runs start, do not start, or end, and why."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from libs.common.events import Band, Tier
from services.playbook.definitions import Catalogue
from services.playbook.domain.accounts import Account
from services.playbook.domain.choose import on_finding, on_snapshot
from services.playbook.domain.runs import (
    Decision,
    Ended,
    Finding,
    NotStarted,
    NotStartedReason,
    Outcome,
    PastRun,
    Run,
    Situation,
    Started,
    Waits,
    WaitsNoMore,
)
from tests.unit.playbook.examples import (
    NOW,
    account_silent,
    band_changed,
    catalogue,
    snapshot,
    usage_decline,
    went_silent,
)

KNOWN = Situation(account=Account.seen(snapshot(1)))


def _decide(
    finding: Finding, situation: Situation = KNOWN, as_of: datetime = NOW, playbooks: Catalogue | None = None
) -> list[Decision]:
    return on_finding(playbooks or catalogue(), situation, finding, as_of)


def _open(finding: Finding, tier: Tier = Tier.HIGH) -> Run:
    playbook = usage_decline() if type(finding).__name__ == "HealthBandChanged" else account_silent()
    return Run.of(playbook, tier, finding, NOW)


def _why_not(decisions: list[Decision]) -> tuple[NotStartedReason, str]:
    [decision] = decisions
    assert isinstance(decision, NotStarted)
    return decision.reason, decision.words


@pytest.mark.parametrize(
    ("segment", "tier"),
    [("enterprise", Tier.HIGH), ("mid_market", Tier.LOW), ("small_business", Tier.TECH), ("unheard of", Tier.LOW)],
)
def test_a_worse_band_starts_a_run_in_the_tier_of_the_segment(segment: str, tier: Tier) -> None:
    situation = Situation(account=Account.seen(snapshot(1, segment=segment)))
    [decision] = _decide(band_changed(), situation)
    assert isinstance(decision, Started)
    assert (decision.run.playbook.name, decision.run.tier, decision.run.is_open) == ("usage-decline", tier, True)


@pytest.mark.parametrize(
    ("before", "to"),
    [
        (Band.RED, Band.YELLOW),
        (Band.YELLOW, Band.GREEN),
        (Band.RED, Band.GREEN),
        (None, Band.RED),
        (Band.GREEN, None),
        (None, None),
    ],
)
def test_a_band_that_is_not_worse_asks_for_nothing(before: Band | None, to: Band | None) -> None:
    assert _decide(band_changed(to, before)) == []


def test_a_playbook_may_ask_for_red_alone() -> None:
    red_only = catalogue(usage_decline(trigger={"band_worsens_to": ["red"]}))
    assert _decide(band_changed(Band.YELLOW), playbooks=red_only) == []
    assert isinstance(_decide(band_changed(Band.RED), playbooks=red_only)[0], Started)


def test_a_band_that_worsens_inside_an_open_run_tells_nobody_again() -> None:
    situation = Situation(account=Account.seen(snapshot(2)), open_runs=(_open(band_changed()),))
    reason, words = _why_not(_decide(band_changed(Band.RED, Band.YELLOW, version=2), situation))
    assert reason is NotStartedReason.OPEN_RUN
    assert words == "its run since 4 May 2026 is still open, so nobody is told again"


def _told(band: Band, episode: int = 1, days_ago: float = 300) -> Situation:
    """An account that has a run of usage-decline behind it, and has not been green since."""
    past = PastRun("usage-decline", episode, band, NOW - timedelta(days=days_ago))
    return Situation(account=Account.seen(snapshot(2)), last_runs=(past,))


@pytest.mark.parametrize("episode", [0, 1])
def test_an_account_that_gets_worse_long_after_it_was_told_is_told_again_though_never_green(episode: int) -> None:
    worse = band_changed(Band.RED, Band.YELLOW, version=2, episode=episode)
    [decision] = _decide(worse, _told(Band.YELLOW, episode))
    assert isinstance(decision, Started)


def test_the_same_band_is_told_once_in_an_episode_even_after_the_cool_down() -> None:
    again = band_changed(Band.RED, Band.YELLOW, version=2)
    assert _why_not(_decide(again, _told(Band.RED))) == (
        NotStartedReason.SAME_EPISODE,
        "it has run for red in this episode already",
    )
    assert isinstance(_decide(band_changed(version=2, episode=2), _told(Band.RED))[0], Started)


def test_the_same_silence_is_told_once() -> None:
    past = PastRun("account-silent", 1, Band.YELLOW, NOW - timedelta(days=300))
    situation = Situation(account=Account.seen(snapshot(2)), last_runs=(past,))
    assert _why_not(_decide(went_silent(version=2, band=Band.RED), situation)) == (
        NotStartedReason.SAME_EPISODE,
        "it has run in this episode already",
    )


def test_a_worse_band_in_the_same_episode_waits_for_the_cool_down_too() -> None:
    worse = band_changed(Band.RED, Band.YELLOW, version=2)
    assert _why_not(_decide(worse, _told(Band.YELLOW, days_ago=29)))[0] is NotStartedReason.COOL_DOWN


def test_a_finding_of_an_episode_that_is_over_starts_nothing() -> None:
    assert _why_not(_decide(band_changed(Band.RED, version=2, episode=1), _told(Band.YELLOW, episode=2))) == (
        NotStartedReason.EPISODE_OVER,
        "it has run in a later episode already",
    )


@pytest.mark.parametrize(("days", "starts"), [(0, False), (29.9, False), (30, True)])
def test_it_cools_down_after_a_run_ended(days: float, starts: bool) -> None:
    past = PastRun("usage-decline", 1, Band.YELLOW, NOW - timedelta(days=days))
    situation = Situation(account=Account.seen(snapshot(2)), last_runs=(past,))
    decisions = _decide(band_changed(version=2, episode=2), situation)
    if starts:
        assert isinstance(decisions[0], Started)
    else:
        reason, words = _why_not(decisions)
        assert reason is NotStartedReason.COOL_DOWN
        assert words.startswith("it is cooling down until ")


def test_one_playbook_does_not_cool_down_another() -> None:
    past = PastRun("usage-decline", 1, Band.YELLOW, NOW - timedelta(days=1))
    situation = Situation(account=Account.seen(snapshot(2)), last_runs=(past,))
    assert isinstance(_decide(went_silent(version=2), situation)[0], Started)


def test_the_higher_priority_ends_the_lower_and_takes_its_place() -> None:
    decline = _open(band_changed(), Tier.TECH)
    situation = Situation(account=Account.seen(snapshot(2)), open_runs=(decline,))
    end, start = _decide(went_silent(version=2), situation)
    assert isinstance(end, Ended)
    assert isinstance(start, Started)
    assert (end.run.run_id, end.run.outcome, end.words) == (
        decline.run_id,
        Outcome.SUPERSEDED,
        "Account silent goes first",
    )
    assert start.run.playbook.name == "account-silent"


def test_the_higher_priority_excludes_the_lower() -> None:
    situation = Situation(account=Account.seen(snapshot(2)), open_runs=(_open(went_silent()),))
    reason, words = _why_not(_decide(band_changed(version=2), situation))
    assert (reason, words) == (NotStartedReason.HIGHER_PRIORITY, "Account silent is under way and goes first")


def test_a_higher_priority_that_does_not_start_ends_nothing() -> None:
    situation = Situation(
        account=Account.seen(snapshot(2)),
        open_runs=(_open(band_changed()),),
        last_runs=(PastRun("account-silent", 1, Band.YELLOW, NOW - timedelta(days=1)),),
    )
    assert _why_not(_decide(went_silent(version=2, episode=2), situation))[0] is NotStartedReason.COOL_DOWN


@pytest.mark.parametrize(("days", "starts"), [(0, True), (5, True), (5.1, False), (400, False)])
def test_an_old_finding_starts_nothing(days: float, starts: bool) -> None:
    decisions = _decide(band_changed(as_of=NOW - timedelta(days=days)))
    if starts:
        assert isinstance(decisions[0], Started)
    else:
        assert _why_not(decisions)[0] is NotStartedReason.STALE


def test_a_churned_account_is_left_alone_and_its_run_ends() -> None:
    churned = Account.seen(snapshot(2, stage="churned"))
    assert _why_not(_decide(band_changed(version=2), Situation(account=churned)))[0] is NotStartedReason.STAGE_EXCLUDED
    [end] = on_snapshot(catalogue(), Situation(account=churned, open_runs=(_open(band_changed()),)), NOW)
    assert isinstance(end, Ended)
    assert (end.run.outcome, end.words) == (Outcome.STAGE_EXCLUDED, "the account is churned now")


def test_a_run_ends_when_the_account_is_green_again() -> None:
    account = Account.seen(snapshot(2, band=Band.GREEN))
    [end] = on_snapshot(catalogue(), Situation(account=account, open_runs=(_open(band_changed()),)), NOW)
    assert isinstance(end, Ended)
    assert (end.run.outcome, end.words) == (Outcome.GOAL_REACHED, "the account is green again")


@pytest.mark.parametrize("silent", [None, True])
def test_a_silent_run_stays_open_while_silence_lasts(silent: bool | None) -> None:
    account = Account.seen(snapshot(2, band=Band.GREEN, silent=silent))
    run = _open(went_silent(band=Band.GREEN))
    assert on_snapshot(catalogue(), Situation(account=account, open_runs=(run,)), NOW) == [], "it was green before too"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"silent": False, "band": Band.YELLOW}, "the account is active again"),
        ({"band": Band.GREEN}, "the account is green again"),
    ],
)
def test_a_silent_run_ends_when_activity_returns(changes: dict[str, object], words: str) -> None:
    account = Account.seen(snapshot(2, **changes))
    [end] = on_snapshot(catalogue(), Situation(account=account, open_runs=(_open(went_silent()),)), NOW)
    assert isinstance(end, Ended)
    assert (end.run.outcome, end.words) == (Outcome.GOAL_REACHED, words)


def test_a_run_is_judged_by_the_version_it_started_with() -> None:
    edited = catalogue(usage_decline(version=2, goal=[]))
    account = Account.seen(snapshot(2, band=Band.GREEN))
    [end] = on_snapshot(edited, Situation(account=account, open_runs=(_open(band_changed()),)), NOW)
    assert isinstance(end, Ended)


def test_a_finding_that_the_account_has_overtaken_starts_nothing() -> None:
    account = Account.seen(snapshot(1)).merged(Account.seen(snapshot(3, band=Band.GREEN)))
    reason, words = _why_not(_decide(band_changed(version=1), Situation(account=account)))
    assert (reason, words) == (NotStartedReason.GOAL_REACHED, "the account is green again")


@pytest.mark.parametrize("account", [None, Account.seen(snapshot(1))])
def test_a_finding_waits_for_its_snapshot(account: Account | None) -> None:
    finding = band_changed(version=2)
    [wait] = _decide(finding, Situation(account=account))
    assert wait == Waits(finding)
    situation = Situation(account=account).after(wait)
    assert on_snapshot(catalogue(), situation, NOW) == []
    arrived = Situation(account=Account.seen(snapshot(2)), waiting=situation.waiting)
    no_more, start = on_snapshot(catalogue(), arrived, NOW)
    assert no_more == WaitsNoMore(finding)
    assert isinstance(start, Started)


def test_findings_that_waited_are_decided_one_after_the_other() -> None:
    first, second = band_changed(version=2), band_changed(Band.RED, Band.YELLOW, version=3)
    situation = Situation(account=Account.seen(snapshot(3)), waiting=(second, first))
    decisions = on_snapshot(catalogue(), situation, NOW)
    assert [type(decision) for decision in decisions] == [WaitsNoMore, Started, WaitsNoMore, NotStarted]
    assert decisions[0] == WaitsNoMore(first), "in the order of their versions"


def test_a_run_is_named_by_what_it_tells() -> None:
    first = Run.of(usage_decline(), Tier.HIGH, band_changed(version=1), NOW)
    again = Run.of(usage_decline(version=9), Tier.TECH, band_changed(version=5), NOW + timedelta(days=9))
    assert first.run_id == again.run_id, "the same band in the same episode"
    others = [
        Run.of(usage_decline(), Tier.HIGH, band_changed(Band.RED, Band.YELLOW, version=5), NOW),
        Run.of(usage_decline(), Tier.HIGH, band_changed(episode=2), NOW),
        Run.of(account_silent(), Tier.HIGH, went_silent(episode=1), NOW),
    ]
    assert len({first.run_id, *(run.run_id for run in others)}) == 4
    silent, worse = went_silent(), went_silent(band=Band.RED)
    assert Run.of(account_silent(), Tier.HIGH, silent, NOW) == Run.of(account_silent(), Tier.HIGH, silent, NOW)
    assert others[2].run_id == Run.of(account_silent(), Tier.HIGH, worse, NOW).run_id, "a silence has no bands"
