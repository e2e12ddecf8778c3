"""Stages and segments: the first rule that an account's traits satisfy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Self, TypeVar

from pydantic import Field, model_validator

from libs.common.config_file import ConfigModel
from services.health.domain.facts import AccountFacts, Scalar, calendar_day, day_of, text
from services.health.domain.numbers import number

FIRST_SEEN = "first_seen"
"""Stands among the traits for the day on which anything first named the account."""


class Range(ConfigModel):
    """From ``at_least`` (included) to ``below`` (not included)."""

    at_least: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if self.at_least is None and self.below is None:
            raise ValueError("give at_least, below, or both")
        if self.at_least is not None and self.below is not None and self.at_least >= self.below:
            raise ValueError(f"no value is at least {self.at_least:g} and below {self.below:g}")
        return self

    def holds(self, value: float) -> bool:
        return (self.at_least is None or value >= self.at_least) and (self.below is None or value < self.below)


_QUESTIONS = ("one_of", "equals", "first_word", "exists", "days_since", "days_until")


class Condition(ConfigModel):
    """One question about one trait: a number (``at_least``, ``below``), text (``in``, ``equals``, or ``first_word``:
    «Enterprise (annual)» begins with the word «enterprise»), presence (``exists``) or a date (``days_since``,
    ``days_until``).

    A trait that is missing, or cannot be read as what is asked, satisfies only ``exists: false``. Text is compared
    without regard to case.
    """

    trait: str = Field(min_length=1)
    at_least: float | None = None
    below: float | None = None
    one_of: tuple[str, ...] | None = Field(default=None, alias="in", min_length=1)
    equals: str | bool | float | None = None
    first_word: str | None = Field(default=None, pattern=r"^\w+$")
    exists: bool | None = None
    days_since: Range | None = None
    days_until: Range | None = None

    @model_validator(mode="after")
    def _asks_one_question(self) -> Self:
        asked = [name for name in _QUESTIONS if self._has(name)]
        if self._has("at_least") or self._has("below"):
            asked.append("number")
            Range(at_least=self.at_least, below=self.below)
        if len(asked) != 1:
            raise ValueError(
                f"a condition asks one question about its trait, this asks {len(asked)}; "
                "use at_least and below, or one of: in, equals, first_word, exists, days_since, days_until"
            )
        return self

    def _has(self, name: str) -> bool:
        return getattr(self, name) is not None

    def holds(self, traits: Mapping[str, Scalar], today: date) -> bool:
        value = traits.get(self.trait)
        if self.exists is not None:
            return self.exists == (value is not None and value != "")
        if self.one_of is not None:
            return _same_text(value, *self.one_of)
        if self.equals is not None:
            return _equals(value, self.equals)
        if self.first_word is not None:
            return _first_word(value) == self.first_word.casefold()
        day = calendar_day(value)
        if self.days_since is not None:
            return day is not None and self.days_since.holds((today - day).days)
        if self.days_until is not None:
            return day is not None and self.days_until.holds((day - today).days)
        amount = number(value)
        return amount is not None and Range(at_least=self.at_least, below=self.below).holds(amount)


def _first_word(value: Scalar | None) -> str:
    return re.split(r"[\W_]", (text(value) or "").casefold(), maxsplit=1)[0]


def _same_text(value: Scalar | None, *wanted: str) -> bool:
    written = text(value)
    return written is not None and written.casefold() in {one.strip().casefold() for one in wanted}


def _equals(value: Scalar | None, wanted: str | bool | float) -> bool:
    if isinstance(wanted, bool):
        return value is wanted or _same_text(value, str(wanted))
    if isinstance(wanted, str):
        return _same_text(value, wanted)
    return number(value) == wanted


class Stage(StrEnum):
    ONBOARDING = "onboarding"
    ADOPTION = "adoption"
    GROWTH = "growth"
    RENEWAL = "renewal"
    CHURNED = "churned"


class StageRule(ConfigModel):
    """All of ``when`` must hold; without conditions the rule matches every account."""

    stage: Stage
    when: tuple[Condition, ...] = ()


class SegmentRule(ConfigModel):
    """All of ``when`` must hold; without conditions the rule matches every account."""

    segment: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
    when: tuple[Condition, ...] = ()


class Stages(ConfigModel):
    """config/stages.yaml."""

    stages: tuple[StageRule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _every_account_has_one(self) -> Self:
        _refuse_unless_last_matches_all(self.stages)
        return self


class Segments(ConfigModel):
    """config/segments.yaml."""

    segments: tuple[SegmentRule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _every_account_has_one(self) -> Self:
        _refuse_unless_last_matches_all(self.segments)
        return self


def stage_of(facts: AccountFacts, rules: Stages, as_of: datetime) -> Stage:
    """The account's stage on the UTC day of ``as_of``."""
    return _first_match(rules.stages, facts, as_of).stage


def segment_of(facts: AccountFacts, rules: Segments, as_of: datetime) -> str:
    """The account's segment on the UTC day of ``as_of``."""
    return _first_match(rules.segments, facts, as_of).segment


R = TypeVar("R", StageRule, SegmentRule)


def _first_match(rules: tuple[R, ...], facts: AccountFacts, as_of: datetime) -> R:
    traits = dict(facts.traits)
    if facts.first_seen_at is not None:
        traits.setdefault(FIRST_SEEN, day_of(facts.first_seen_at).isoformat())
    today = day_of(as_of)
    return next(rule for rule in rules if all(condition.holds(traits, today) for condition in rule.when))


def _refuse_unless_last_matches_all(rules: Sequence[StageRule | SegmentRule]) -> None:
    for place, rule in enumerate(rules[:-1], start=1):
        if not rule.when:
            raise ValueError(f"rule {place} matches every account, so the rules after it never apply; move it last")
    if rules[-1].when:
        raise ValueError("the last rule must match every account: leave out its when")
