"""What customer-success people may say in ``config/playbooks`` and ``config/touch_tiers.yaml``, and how it is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from libs.common.config_file import ConfigModel, line_in, load, load_all, mistake
from libs.common.events import Band, Tier

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
Days = Annotated[int, Field(ge=1, le=365)]


class Goal(StrEnum):
    """What ends a run because it is not needed any more."""

    GREEN_AGAIN = "green_again"  # the account was not green at the finding and is green now
    ACTIVE_AGAIN = "active_again"  # the account is not silent any more


class StepKind(StrEnum):
    SLACK = "slack"
    EMAIL = "email"
    WAIT = "wait_days"
    END = "end"


class Trigger(ConfigModel):
    """Which finding of health starts a run: exactly one of the fields is given."""

    band_worsens_to: tuple[Literal[Band.YELLOW, Band.RED], ...] = ()
    account_goes_silent: bool = False

    @model_validator(mode="after")
    def _one(self) -> Trigger:
        if bool(self.band_worsens_to) == self.account_goes_silent:
            raise ValueError("give one of band_worsens_to: [yellow, red] and account_goes_silent: true")
        return self


class Step(ConfigModel):
    """One thing that a run does: ``slack: TEMPLATE``, ``email: TEMPLATE``, ``wait_days: N`` or ``end``.

    Slack messages go to the channel of the account's tier, emails to the account's contact. Days are domain time,
    counted from the moment at which the step before was done.
    """

    slack: Slug | None = None
    email: Slug | None = None
    wait_days: Days | None = None
    end: Literal[True] | None = None

    @model_validator(mode="before")
    @classmethod
    def _end_alone(cls, given: Any) -> Any:
        return {"end": True} if given == "end" else given

    @model_validator(mode="after")
    def _one(self) -> Step:
        if len(self.model_dump(exclude_none=True)) != 1:
            raise ValueError("a step is one of slack: TEMPLATE, email: TEMPLATE, wait_days: N, end")
        return self

    @property
    def kind(self) -> StepKind:
        return next(kind for kind in StepKind if getattr(self, kind.value) is not None)


def _ends_once(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    if [n for n, step in enumerate(steps) if step.kind is StepKind.END] != [len(steps) - 1]:
        raise ValueError("the last step, and only that, is end")
    return steps


def _every_tier(steps: dict[Tier, Any]) -> dict[Tier, Any]:
    if missing := [tier.value for tier in Tier if tier not in steps]:
        raise ValueError(f"every tier says what it does; {', '.join(missing)} is missing")
    return steps


class Playbook(ConfigModel):
    """The recipe. A run keeps the definition it started with, whatever becomes of the file.

    So definitions are stored for as long as runs are: a field may be added with a default and is never taken away.
    """

    name: Slug
    version: int = Field(ge=1)
    title: str = Field(min_length=1, max_length=100)
    priority: int = Field(ge=0, le=1000)
    trigger: Trigger
    exclude_stages: tuple[str, ...] = ()
    freshness_days: Days
    cool_down_days: int = Field(ge=0, le=3650)
    goal: tuple[Goal, ...] = ()
    steps: Annotated[
        dict[Tier, Annotated[tuple[Step, ...], AfterValidator(_ends_once)]],
        AfterValidator(_every_tier),
    ]


class TouchTiers(ConfigModel):
    """How much care each segment gets, and where the people of a tier are told."""

    segments: dict[str, Tier]
    otherwise: Tier
    slack_channels: dict[Tier, Annotated[str, StringConstraints(pattern=r"^(#[^\s#]{1,80}|[CG][A-Z0-9]{6,})$")]]

    def of(self, segment: str) -> Tier:
        return self.segments.get(segment, self.otherwise)


@dataclass(frozen=True)
class Catalogue:
    """Everything that is loaded; the playbook with the highest priority first."""

    playbooks: tuple[Playbook, ...]
    tiers: TouchTiers


def load_catalogue(config_dir: Path) -> Catalogue:
    """Raises NotStarted with the file, the line and the mistake."""
    tiers = load(config_dir / "touch_tiers.yaml", TouchTiers)
    playbooks = load_all(config_dir / "playbooks", Playbook)
    for path, location, problem in _mistakes_between_files(playbooks, tiers):
        raise mistake(path, line_in(path, location), problem)
    return Catalogue(tuple(sorted(playbooks.values(), key=lambda playbook: -playbook.priority)), tiers)


def _mistakes_between_files(
    playbooks: dict[Path, Playbook], tiers: TouchTiers
) -> Iterator[tuple[Path, tuple[int | str, ...], str]]:
    by_priority: dict[int, Playbook] = {}
    for path, playbook in playbooks.items():
        if playbook.name != path.stem:
            yield path, ("name",), f"name: {playbook.name} is in a file called {path.name}; make them the same"
        if (other := by_priority.setdefault(playbook.priority, playbook)) is not playbook:
            yield path, ("priority",), f"priority: {other.name} has {playbook.priority} too; one of them goes first"
        for tier, steps in playbook.steps.items():
            for n, step in enumerate(steps):
                if step.kind is StepKind.SLACK and tier not in tiers.slack_channels:
                    yield path, ("steps", tier.value, n, "slack"), f"{tier} has no slack_channels in touch_tiers.yaml"
