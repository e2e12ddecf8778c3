"""What a run does when its next step is due."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

import msgspec

from libs.common.events import (
    AccountChanged,
    AccountWentSilent,
    Channel,
    HealthBandChanged,
    Tier,
    TouchFacts,
    TouchRequested,
    derived_id,
)
from services.playbook.definitions import Step, StepKind, TouchTiers
from services.playbook.domain.runs import Ended, Finding, Outcome, Run
from services.playbook.domain.words import finding_in_words, tier_in_words


@dataclass(frozen=True)
class Withheld:
    """A touch that came due too long ago to be right any more."""

    run: Run
    step: int
    channel: Channel
    due_at: datetime


@dataclass(frozen=True)
class Progress:
    """``run`` as it is afterwards, and what it asked for on the way, in order. ``ended`` says why if it is over now,
    and ``successor`` is the run that goes on in its place, if one does."""

    run: Run
    touches: tuple[TouchRequested, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    ended: Ended | None = None
    successor: Run | None = None


def advance(
    run: Run, snapshot: AccountChanged, tiers: TouchTiers, *, as_of: datetime, step_due_really_at: datetime
) -> Progress:
    """Do every step that is due at ``as_of``: touches are requested, until a wait or the end.

    ``snapshot`` is the account's newest. ``step_due_really_at`` is ``run.next_step_at`` in real time, from which the
    time to a touch is measured that is due later than the finding. Nobody is told in a tier that the account has left:
    the run ends there, and another one begins in the tier of today.
    """
    touches: list[TouchRequested] = []
    withheld: list[Withheld] = []
    ended: Ended | None = None
    successor: Run | None = None
    tier = tiers.of(snapshot.segment)
    steps = run.playbook.steps[run.tier]
    while run.is_open and run.next_step_at <= as_of:
        step = steps[run.step]
        match step.kind:
            case StepKind.SLACK | StepKind.EMAIL:
                fresh_until = run.next_step_at + timedelta(days=run.playbook.freshness_days)
                if as_of > fresh_until:
                    withheld.append(Withheld(run, run.step, Channel(step.kind.value), run.next_step_at))
                elif tier is not run.tier:
                    successor = run.again_in(tier, as_of)
                    run = run.ended(Outcome.TIER_CHANGED, as_of)
                    words = f"the account has moved from {tier_in_words(run.tier)} to {tier_in_words(tier)}"
                    ended = Ended(run, words)
                    break
                else:
                    due_at = run.finding.due_at if run.next_step_at <= run.finding.as_of else step_due_really_at
                    touches.append(_touch(run, step, snapshot, tiers, as_of, fresh_until, due_at))
                run = dataclasses.replace(run, step=run.step + 1)
            case StepKind.WAIT:
                # From now and not from when it was due: what was late must not bring the next touch closer.
                run = dataclasses.replace(
                    run, step=run.step + 1, next_step_at=as_of + timedelta(days=step.wait_days or 0)
                )
            case StepKind.END:
                run = run.ended(Outcome.STEPS_DONE, as_of)
                ended = Ended(run, "all its steps are done")
            case _:
                assert_never(step.kind)
    return Progress(run, tuple(touches), tuple(withheld), ended, successor)


def _touch(
    run: Run,
    step: Step,
    snapshot: AccountChanged,
    tiers: TouchTiers,
    as_of: datetime,
    fresh_until: datetime,
    due_at: datetime,
) -> TouchRequested:
    channel = Channel(step.kind.value)
    recipient = _recipient(channel, run.tier, snapshot, tiers)
    return TouchRequested(
        workspace=snapshot.workspace,
        account_id=snapshot.account_id,
        id=derived_id(snapshot.workspace, snapshot.account_id, "touch", f"{run.run_id}\0{run.step}\0{recipient}"),
        account_version=snapshot.version,
        run_id=run.run_id,
        playbook=run.playbook.name,
        playbook_version=run.playbook.version,
        step=run.step,
        tier=run.tier,
        channel=channel,
        recipient=recipient,
        template=step.slack or step.email or "",
        facts=_facts(run.finding, snapshot, as_of),
        requested_at=as_of,
        fresh_until=fresh_until,
        due_at=due_at,
    )


def _recipient(channel: Channel, tier: Tier, snapshot: AccountChanged, tiers: TouchTiers) -> str | None:
    match channel:
        case Channel.SLACK:
            return tiers.slack_channels.get(tier)
        case Channel.EMAIL:
            return snapshot.contact_email
        case _:
            assert_never(channel)


def _facts(finding: Finding, snapshot: AccountChanged, as_of: datetime) -> TouchFacts:
    """Who the account is now, and what was found, as it was found: reasons and score belong together."""
    facts = TouchFacts(
        account_name=snapshot.name,
        segment=snapshot.segment,
        stage=snapshot.stage,
        finding=finding_in_words(finding),
        arr=snapshot.arr,
        owner=snapshot.owner,
        contact_name=snapshot.contact_name,
        renewal_date=snapshot.renewal_date,
        days_to_renewal=(snapshot.renewal_date - as_of.date()).days if snapshot.renewal_date else None,
        band=finding.band,
        score=finding.score,
        reasons=finding.reasons,
        trend=finding.trend,
    )
    match finding:
        case HealthBandChanged():
            return msgspec.structs.replace(facts, band_before=finding.band_before, score_before=finding.score_before)
        case AccountWentSilent():
            return msgspec.structs.replace(facts, last_activity_at=finding.last_activity_at)
        case _:
            assert_never(finding)
