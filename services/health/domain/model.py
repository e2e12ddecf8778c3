"""The health model that people write (config/health/*.yaml): dimensions, their measures, and the mistakes refused.

A measure takes an *input* out of the facts and a *transform* turns it into marks, 0 to 100.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from libs.common.config_file import ConfigModel
from services.health.domain.activity import Activity
from services.health.domain.bands import BandRule
from services.health.domain.silence import SilenceRule
from services.health.domain.tenths import exact

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Days = Annotated[int, Field(ge=1, le=366)]
Marks = Annotated[float, Field(ge=0, le=100)]

# --- inputs: what is looked at -----------------------------------------------------------------------------------


class Usage(ConfigModel):
    """Calls of some events, or of all that count as activity. ``window_days`` only where a number is needed."""

    kind: Literal["usage"]
    events: Literal["activity"] | tuple[str, ...] = "activity"
    window_days: Days | None = None


class ActivePeople(ConfigModel):
    """Different people active in the last complete days; as a share of a trait (licensed seats) if one is named."""

    kind: Literal["active_people"]
    window_days: Days
    per_trait: str | None = None


class FeaturesUsed(ConfigModel):
    """Different features used, of a list of event names, or of any that count as activity."""

    kind: Literal["features_used"]
    window_days: Days
    features: Literal["any"] | tuple[str, ...] = "any"


class Opening(ConfigModel):
    """The event that opens a case; for every property in ``where`` its value must be one of those given."""

    event: str
    where: dict[str, tuple[str, ...]] = Field(default={})


class OpenCases(ConfigModel):
    """Cases opened in the last days (today included) and not closed since: tickets, failed payments.

    ``closed_by`` closes the case whose ``matched_by`` property is the same; without ``matched_by`` it closes all
    earlier ones; without ``closed_by`` a case stays open until its days are over.
    """

    kind: Literal["open_cases"]
    opened: Opening
    closed_by: str | None = None
    matched_by: str | None = None
    window_days: Days

    @model_validator(mode="after")
    def _matching_needs_closing(self) -> Self:
        if self.matched_by and not self.closed_by:
            raise ValueError("matched_by without closed_by closes nothing")
        return self


Input = Annotated[Usage | ActivePeople | FeaturesUsed | OpenCases, Field(discriminator="kind")]

# --- transforms: how it becomes marks ----------------------------------------------------------------------------


class RatioToBaseline(ConfigModel):
    """Usage now against the account's own past.

    Now is the mean of the last ``current_days`` complete days. The past is the median of the whole weeks that lie
    more than ``baseline_after_days`` and at most ``baseline_within_days`` back; of them ``least_weeks`` must be known.
    Holidays of the calendar are no days: now reaches back by as many working days as they took, and a week is the mean
    of what they left of it, or unknown where they took most of it.
    """

    kind: Literal["ratio_to_baseline"]
    full_from: float = Field(default=0.85, gt=0)
    zero_at: float = Field(ge=0)
    current_days: Days = 21
    baseline_after_days: Days = 28
    baseline_within_days: Days = 84
    least_weeks: int = Field(default=4, ge=1, le=52)

    @model_validator(mode="after")
    def _windows_hold_together(self) -> Self:
        if self.zero_at >= self.full_from:
            raise ValueError(f"zero_at {self.zero_at:g} must be below full_from {self.full_from:g}")
        if self.current_days > self.baseline_after_days:
            raise ValueError("current_days reaches into the baseline, which begins after baseline_after_days")
        if self.weeks < self.least_weeks:
            raise ValueError(f"the baseline has {self.weeks} weeks, fewer than least_weeks {self.least_weeks}")
        return self

    @property
    def weeks(self) -> int:
        return (self.baseline_within_days - self.baseline_after_days) // 7


class Linear(ConfigModel):
    """Marks in proportion between ``zero_at`` and ``full_from``; less is better when ``full_from`` is the smaller."""

    kind: Literal["linear"]
    zero_at: float
    full_from: float

    @model_validator(mode="after")
    def _has_a_slope(self) -> Self:
        if self.zero_at == self.full_from:
            raise ValueError("zero_at and full_from must differ")
        return self


class Step(ConfigModel):
    """Marks for values from ``at_least`` (included) to ``below`` (not included); without one, there is no end."""

    at_least: float | None = None
    below: float | None = None
    marks: Marks


class Bands(ConfigModel):
    """Steps that tile the whole axis, in order."""

    kind: Literal["bands"]
    steps: tuple[Step, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _tile_the_axis(self) -> Self:
        if self.steps[0].at_least is not None:
            raise ValueError(f"nothing is said for values below {self.steps[0].at_least:g}: leave out its at_least")
        if self.steps[-1].below is not None:
            raise ValueError(f"nothing is said for values from {self.steps[-1].below:g}: leave out its below")
        for left, right in pairwise(self.steps):
            if left.below is None or right.at_least is None:
                raise ValueError("only the first step may have no at_least, and only the last no below")
            if left.below < right.at_least:
                raise ValueError(f"nothing is said for values from {left.below:g} to below {right.at_least:g}")
            if left.below > right.at_least:
                raise ValueError(f"values from {right.at_least:g} to below {left.below:g} fall into two steps")
        for step in self.steps:
            if step.at_least is not None and step.below is not None and step.at_least >= step.below:
                raise ValueError(f"no value is at least {step.at_least:g} and below {step.below:g}")
        return self


class Recency(ConfigModel):
    """Working days since the last time: full marks up to ``full_until_working_days``, none from
    ``zero_from_working_days``."""

    kind: Literal["recency"]
    full_until_working_days: int = Field(ge=0)
    zero_from_working_days: int = Field(ge=1, le=180)

    @model_validator(mode="after")
    def _has_a_slope(self) -> Self:
        if self.full_until_working_days >= self.zero_from_working_days:
            raise ValueError("full_until_working_days must be less than zero_from_working_days")
        return self


Transform = Annotated[RatioToBaseline | Linear | Bands | Recency, Field(discriminator="kind")]

# --- the model ---------------------------------------------------------------------------------------------------


class Measure(ConfigModel):
    """``weight`` is percent of its dimension. An account younger than ``warmup_days`` is not measured yet."""

    id: Identifier
    title: str
    weight: float = Field(gt=0, le=100)
    warmup_days: int = Field(default=0, ge=0, le=366)
    input: Input
    transform: Transform

    @model_validator(mode="after")
    def _input_suits_transform(self) -> Self:
        over_time = isinstance(self.transform, RatioToBaseline | Recency)
        if over_time and not isinstance(self.input, Usage):
            raise ValueError(f"{self.transform.kind} needs an input of kind usage, not {self.input.kind}")
        if isinstance(self.input, Usage):
            if over_time and self.input.window_days is not None:
                raise ValueError(f"{self.transform.kind} brings its own windows: leave out window_days")
            if not over_time and self.input.window_days is None:
                raise ValueError(f"{self.transform.kind} needs window_days: over how many days are calls counted?")
        return self

    @property
    def days_of_history(self) -> int:
        """How many days before the day of the score this measure looks at."""
        if isinstance(self.transform, RatioToBaseline):
            return self.transform.baseline_within_days
        if isinstance(self.transform, Recency):
            return 2 * self.transform.zero_from_working_days  # with weekends and a season of holidays between them
        return self.input.window_days or 0


class Dimension(ConfigModel):
    """``weight`` is percent of the score."""

    id: Identifier
    title: str
    weight: float = Field(gt=0, le=100)
    measures: tuple[Measure, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _weights_add_up(self) -> Self:
        _refuse_unless_hundred("the measures' weights", (measure.weight for measure in self.measures))
        return self


class HealthModel(ConfigModel):
    """``version`` is raised with every change: a score names the version that made it. ``least_coverage`` is the share
    of weight that must be known before a score says anything."""

    name: Identifier
    version: int = Field(ge=1)
    activity: Activity
    silence: SilenceRule
    bands: BandRule
    least_coverage: float = Field(default=0.5, gt=0, le=1)
    dimensions: tuple[Dimension, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _weights_add_up(self) -> Self:
        _refuse_unless_hundred("the dimensions' weights", (dimension.weight for dimension in self.dimensions))
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what, ids in (
            ("dimensions", [dimension.id for dimension in self.dimensions]),
            ("measures", [measure.id for _, measure in self.measures()]),
        ):
            name, times = Counter(ids).most_common(1)[0]
            if times > 1:
                raise ValueError(f"{times} {what} are called {name}")
        return self

    @model_validator(mode="after")
    def _every_measure_is_fed(self) -> Self:
        for _, measure in self.measures():
            named = _events_of(measure.input)
            if named is not None and not named:
                raise ValueError(f"nothing feeds {measure.id}: its list of events is empty")
            unheard = sorted(set(named or ()) & self.activity.excluded)
            if isinstance(measure.input, Usage | FeaturesUsed) and unheard:
                raise ValueError(
                    f"nothing feeds {measure.id} with {unheard[0]!r}: activity.exclude_events leaves it out"
                )
        return self

    def measures(self) -> Iterator[tuple[Dimension, Measure]]:
        """In the order of the file."""
        for dimension in self.dimensions:
            for measure in dimension.measures:
                yield dimension, measure

    @cached_property
    def fingerprint(self) -> str:
        """Tells this model from any that may judge otherwise, even where somebody forgot to raise ``version``. Other
        words for the same judgement are no other model: titles and the number itself leave it as it is."""
        judging = self.model_dump_json(
            exclude={
                "version": True,
                "dimensions": {"__all__": {"title": True, "measures": {"__all__": {"title": True}}}},
            }
        )
        return hashlib.blake2b(judging.encode(), digest_size=12).hexdigest()

    # --- what the model needs to be told: for whoever keeps and loads facts ---

    @cached_property
    def days_of_history(self) -> int:
        """How many days before the day of a score the counts and occurrences must reach."""
        return max(8 * 7, *(measure.days_of_history for _, measure in self.measures()))

    @cached_property
    def people_windows(self) -> frozenset[int]:
        """The windows, in complete days, over which different active people are counted."""
        return frozenset(
            measure.input.window_days for _, measure in self.measures() if isinstance(measure.input, ActivePeople)
        )

    @cached_property
    def kept_properties(self) -> dict[str, frozenset[str]]:
        """The events that some measure looks inside, each with the properties to keep of it."""
        kept: dict[str, set[str]] = defaultdict(set)
        for _, measure in self.measures():
            if isinstance(cases := measure.input, OpenCases):
                matched = {cases.matched_by} if cases.matched_by else set()
                kept[cases.opened.event] |= {*cases.opened.where, *matched}
                if cases.closed_by:
                    kept[cases.closed_by] |= matched
        return {event: frozenset(properties) for event, properties in kept.items()}


def _events_of(measured: Usage | ActivePeople | FeaturesUsed | OpenCases) -> tuple[str, ...] | None:
    """The events that an input names one by one; None when it takes all activity."""
    match measured:
        case Usage(events=events) if not isinstance(events, str):
            return events
        case FeaturesUsed(features=features) if not isinstance(features, str):
            return features
        case OpenCases():
            return (measured.opened.event,)
        case _:
            return None


def _refuse_unless_hundred(what: str, weights: Iterable[float]) -> None:
    together = sum(exact(weight) for weight in weights)
    if together != 100:
        raise ValueError(f"{what} add up to {float(together):g}, not to 100")
