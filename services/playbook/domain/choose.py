"""Which runs start, do not start, or end: the same situation, event and moment always give the same decisions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import assert_never

from libs.common.events import AccountWentSilent, Band, HealthBandChanged
from services.playbook.definitions import Catalogue, Goal, Playbook
from services.playbook.domain.accounts import Account
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
from services.playbook.domain.words import day


def on_snapshot(catalogue: Catalogue, situation: Situation, as_of: datetime) -> list[Decision]:
    """What follows from what is known of the account now: runs that are not needed any more end, and findings that
    waited for this version are decided, in the order of their versions."""
    account = situation.account
    if account is None:
        return []
    decisions: list[Decision] = []
    for run in situation.open_runs:
        if account.snapshot.stage in run.playbook.exclude_stages:
            decisions.append(_end(run, Outcome.STAGE_EXCLUDED, f"the account is {account.snapshot.stage} now", as_of))
        elif words := _goal_reached(run.playbook, account, run.finding):
            decisions.append(_end(run, Outcome.GOAL_REACHED, words, as_of))
    for decision in decisions:
        situation = situation.after(decision)
    due = [finding for finding in situation.waiting if finding.account_version <= account.snapshot.version]
    for finding in sorted(due, key=lambda finding: (finding.account_version, finding.id)):
        for decision in [WaitsNoMore(finding), *on_finding(catalogue, situation, finding, as_of)]:
            situation = situation.after(decision)
            decisions.append(decision)
    return decisions


def on_finding(catalogue: Catalogue, situation: Situation, finding: Finding, as_of: datetime) -> list[Decision]:
    """What follows from a finding: for each playbook that it triggers, highest priority first, a run or the reason why
    there is none."""
    triggered = [playbook for playbook in catalogue.playbooks if _triggers(playbook, finding)]
    if not triggered:
        return []
    account = situation.account
    if account is None or account.snapshot.version < finding.account_version:
        return [Waits(finding)]
    decisions: list[Decision] = []
    for playbook in triggered:
        for decision in _on_trigger(catalogue, playbook, account, situation, finding, as_of):
            situation = situation.after(decision)
            decisions.append(decision)
    return decisions


def _triggers(playbook: Playbook, finding: Finding) -> bool:
    match finding:
        case AccountWentSilent():
            return playbook.trigger.account_goes_silent
        case HealthBandChanged(band=band, band_before=before):
            # Without a band before there was nothing to worsen: an account that is red when first seen is no decline.
            return (
                band is not None
                and before is not None
                and _severity(band) > _severity(before)
                and band in playbook.trigger.band_worsens_to
            )
        case _:
            assert_never(finding)


def _on_trigger(
    catalogue: Catalogue, playbook: Playbook, account: Account, situation: Situation, finding: Finding, as_of: datetime
) -> Iterator[Decision]:
    obstacle = next(_obstacles(playbook, account, situation, finding, as_of), None)
    if obstacle is not None:
        reason, words = obstacle
        yield NotStarted(playbook, finding, reason, words)
        return
    for run in situation.open_runs:
        if run.playbook.priority < playbook.priority:
            yield _end(run, Outcome.SUPERSEDED, f"{playbook.title} goes first", as_of)
    yield Started(Run.of(playbook, catalogue.tiers.of(account.snapshot.segment), finding, as_of))


def _obstacles(
    playbook: Playbook, account: Account, situation: Situation, finding: Finding, as_of: datetime
) -> Iterator[tuple[NotStartedReason, str]]:
    """Everything that speaks against a run, the most telling first."""
    for run in situation.open_runs:
        if run.playbook.name == playbook.name:
            yield (
                NotStartedReason.OPEN_RUN,
                f"its run since {day(run.started_at)} is still open, so nobody is told again",
            )
    last = next((past for past in situation.last_runs if past.playbook == playbook.name), None)
    if last is not None and finding.episode < last.episode:
        yield NotStartedReason.EPISODE_OVER, "it has run in a later episode already"
    if last is not None and finding.episode == last.episode and (words := _told_already(finding, last)):
        yield NotStartedReason.SAME_EPISODE, words
    if account.snapshot.stage in playbook.exclude_stages:
        yield NotStartedReason.STAGE_EXCLUDED, f"the account is {account.snapshot.stage}"
    if words := _goal_reached(playbook, account, finding):
        yield NotStartedReason.GOAL_REACHED, words
    if as_of - finding.as_of > timedelta(days=playbook.freshness_days):
        yield (
            NotStartedReason.STALE,
            f"the finding is of {day(finding.as_of)}, more than {playbook.freshness_days} days ago",
        )
    for run in situation.open_runs:
        if run.playbook.priority > playbook.priority:
            yield NotStartedReason.HIGHER_PRIORITY, f"{run.playbook.title} is under way and goes first"
    if last is not None:
        until = last.ended_at + timedelta(days=playbook.cool_down_days)
        if as_of < until:
            yield NotStartedReason.COOL_DOWN, f"it is cooling down until {day(until)}"


def _told_already(finding: Finding, last: PastRun) -> str | None:
    """In words, why a finding of the last run's episode says nothing new; None for a band worse than was told. An
    account that never gets green stays in one episode for years."""
    match finding:
        case AccountWentSilent():
            return "it has run in this episode already"
        case HealthBandChanged(band=band):
            if _severity(band) > _severity(last.band):
                return None
            return f"it has run for {last.band} in this episode already"
        case _:
            assert_never(finding)


def _severity(band: Band | None) -> int:
    """0 where nothing is known, as where all is well."""
    return 0 if band is None else [Band.GREEN, Band.YELLOW, Band.RED].index(band)


def _goal_reached(playbook: Playbook, account: Account, finding: Finding) -> str | None:
    """In words, why the account does not need a run about this finding any more; None when it does."""
    for goal in playbook.goal:
        match goal:
            case Goal.GREEN_AGAIN:
                if finding.band is not Band.GREEN and account.last_green_version > finding.account_version:
                    return "the account is green again"
            case Goal.ACTIVE_AGAIN:
                if account.last_active_version > finding.account_version:
                    return "the account is active again"
            case _:
                assert_never(goal)
    return None


def _end(run: Run, outcome: Outcome, words: str, as_of: datetime) -> Ended:
    return Ended(run.ended(outcome, as_of), words)
