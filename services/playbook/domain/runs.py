"""What a run is, what is known about the runs of an account, and what can be decided about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from libs.common.events import AccountWentSilent, Band, HealthBandChanged, Tier, derived_id
from services.playbook.definitions import Playbook
from services.playbook.domain.accounts import Account

Finding = HealthBandChanged | AccountWentSilent


class Outcome(StrEnum):
    """Why a run is over."""

    STEPS_DONE = "steps_done"
    GOAL_REACHED = "goal_reached"
    SUPERSEDED = "superseded"  # by a run of a playbook with a higher priority
    STAGE_EXCLUDED = "stage_excluded"
    TIER_CHANGED = "tier_changed"  # another run goes on in the account's new tier


class NotStartedReason(StrEnum):
    OPEN_RUN = "open_run"
    SAME_EPISODE = "same_episode"
    EPISODE_OVER = "episode_over"
    STAGE_EXCLUDED = "stage_excluded"
    GOAL_REACHED = "goal_reached"  # a newer snapshot says that it is over already
    STALE = "stale"
    HIGHER_PRIORITY = "higher_priority"
    COOL_DOWN = "cool_down"


@dataclass(frozen=True)
class Run:
    """One account going through a playbook once.

    ``playbook`` is the definition as it was when the run started. ``step`` is the index of the next step, due at
    ``next_step_at`` (domain time); both stay where they were once the run has ended.
    """

    run_id: str
    playbook: Playbook
    tier: Tier
    finding: Finding
    started_at: datetime
    next_step_at: datetime
    step: int = 0
    ended_at: datetime | None = None
    outcome: Outcome | None = None

    @classmethod
    def of(cls, playbook: Playbook, tier: Tier, finding: Finding, as_of: datetime) -> Run:
        """A new run. Its id follows from what it tells: an episode, and each band in it, is told at most once."""
        return cls(
            run_id=derived_id(finding.workspace, finding.account_id, f"run {playbook.name}", _told_by(finding)),
            playbook=playbook,
            tier=tier,
            finding=finding,
            started_at=as_of,
            next_step_at=min(finding.as_of, as_of),
        )

    @property
    def is_open(self) -> bool:
        return self.ended_at is None

    def again_in(self, tier: Tier, as_of: datetime) -> Run:
        """The run that takes this one's place: the same definition and finding, as ``tier`` does it, from now on."""
        return Run(
            run_id=derived_id(self.finding.workspace, self.finding.account_id, "run goes on", self.run_id),
            playbook=self.playbook,
            tier=tier,
            finding=self.finding,
            started_at=as_of,
            next_step_at=as_of,
        )

    def ended(self, outcome: Outcome, as_of: datetime) -> Run:
        return replace(self, ended_at=as_of, outcome=outcome)


def _told_by(finding: Finding) -> str:
    match finding:
        case HealthBandChanged(episode=episode, band=band):
            return f"{episode} {band}"
        case AccountWentSilent(episode=episode):
            return f"{episode}"
        case _:
            assert_never(finding)


@dataclass(frozen=True)
class PastRun:
    """What later decisions need to know of a run that has ended. ``band`` is that of its finding."""

    playbook: str
    episode: int
    band: Band | None
    ended_at: datetime


@dataclass(frozen=True)
class Started:
    run: Run


@dataclass(frozen=True)
class NotStarted:
    """``words`` give the reason to people."""

    playbook: Playbook
    finding: Finding
    reason: NotStartedReason
    words: str


@dataclass(frozen=True)
class Ended:
    """``run`` as it is now, ended. ``words`` give the reason to people."""

    run: Run
    words: str


@dataclass(frozen=True)
class Waits:
    """The finding is about a version of the account that has not arrived: it is decided when that has."""

    finding: Finding


@dataclass(frozen=True)
class WaitsNoMore:
    finding: Finding


Decision = Started | NotStarted | Ended | Waits | WaitsNoMore


@dataclass(frozen=True)
class Situation:
    """Everything that decisions about an account depend on. ``account`` is None until its first snapshot arrives.

    ``last_runs`` are the runs that ended last, one of each playbook: the runs of a playbook come one after the other
    and tell ever later episodes, or worse bands of the same, so that the last one answers for all before it.
    """

    account: Account | None = None
    open_runs: tuple[Run, ...] = ()
    last_runs: tuple[PastRun, ...] = ()
    waiting: tuple[Finding, ...] = ()

    def after(self, decision: Decision) -> Situation:
        """The situation once the decision is carried out."""
        match decision:
            case Started(run):
                return replace(self, open_runs=(*self.open_runs, run))
            case Ended(run):
                assert run.ended_at is not None
                past = PastRun(run.playbook.name, run.finding.episode, run.finding.band, run.ended_at)
                return replace(
                    self,
                    open_runs=tuple(other for other in self.open_runs if other.run_id != run.run_id),
                    last_runs=(*(other for other in self.last_runs if other.playbook != past.playbook), past),
                )
            case Waits(finding):
                return replace(self, waiting=(*self.waiting, finding))
            case WaitsNoMore(finding):
                return replace(self, waiting=tuple(other for other in self.waiting if other.id != finding.id))
            case NotStarted():
                return self
            case _:
                assert_never(decision)
