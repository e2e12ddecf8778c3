"""Bands: green, yellow and red with hysteresis, so that a score that trembles on a border alarms nobody."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

import msgspec
from pydantic import Field, model_validator

from libs.common.config_file import ConfigModel
from libs.common.events import Band
from services.health.domain.tenths import Tenths, tenths


class BandRule(ConfigModel):
    """Points from which a score is green or yellow. A band is left at once when the score is ``margin`` points
    outside, else when it has been outside for ``patience_hours``."""

    green_from: float = Field(gt=0, le=100)
    yellow_from: float = Field(gt=0, le=100)
    margin: float = Field(default=3, ge=0, le=20)
    patience_hours: float = Field(default=24, ge=0, le=24 * 28)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.yellow_from >= self.green_from:
            raise ValueError(f"yellow_from {self.yellow_from:g} must be below green_from {self.green_from:g}")
        return self

    @property
    def patience(self) -> timedelta:
        return timedelta(hours=self.patience_hours)

    def holds(self, score: Tenths) -> Band:
        """The band whose interval holds ``score``, hysteresis aside."""
        if score >= tenths(self.green_from):
            return Band.GREEN
        return Band.YELLOW if score >= tenths(self.yellow_from) else Band.RED

    def outside_by(self, band: Band, score: Tenths) -> Tenths:
        """How far ``score`` is outside of ``band``. At the lower border of the next band it is outside by 0."""
        lower = {Band.GREEN: tenths(self.green_from), Band.YELLOW: tenths(self.yellow_from), Band.RED: 0}[band]
        upper = {Band.GREEN: 1000, Band.YELLOW: tenths(self.green_from), Band.RED: tenths(self.yellow_from)}[band]
        return max(lower - score, score - upper, 0)


def is_worse(band: Band | None, than: Band | None) -> bool:
    """No band at all is neither better nor worse."""
    if band is None or than is None:
        return False
    from_best = (Band.GREEN, Band.YELLOW, Band.RED)
    return from_best.index(band) > from_best.index(than)


class BandState(msgspec.Struct, frozen=True):
    """What is remembered of an account between two scorings.

    ``band`` is None while there is too little data. ``last_known`` is the last band that was not None.
    ``outside_since`` is set while the score is outside of the band that it has not left yet.
    ``episode`` counts the times that the account left green.
    """

    band: Band | None = None
    since: datetime | None = None
    outside_since: datetime | None = None
    episode: int = 0
    last_known: Band | None = None


def settle_band(
    before: BandState, score: Tenths | None, as_of: datetime, rule: BandRule, *, at_once: bool = False
) -> BandState:
    """The state at ``as_of``, where the score is ``score`` (None: too little data). ``at_once``: for a
    score that was moved by something else than the customer, and so must not begin a patience; one that the customer
    began goes on."""
    if score is None:
        return before if before.band is None else _enter(before, None, as_of)
    held = rule.holds(score)
    if before.band is None:
        return _enter(before, held, as_of)
    if held is before.band:
        return msgspec.structs.replace(before, outside_since=None)
    begins = before.outside_since is None
    outside_since = before.outside_since or as_of
    far = rule.outside_by(before.band, score) >= tenths(rule.margin)
    if (at_once and begins) or far or as_of - outside_since >= rule.patience:
        return _enter(before, held, as_of)
    return msgspec.structs.replace(before, outside_since=outside_since)


def leaves_at(state: BandState, rule: BandRule) -> datetime | None:
    """When the account leaves its band by itself if its score stays as it is."""
    return state.outside_since + rule.patience if state.outside_since else None


def _enter(before: BandState, band: Band | None, as_of: datetime) -> BandState:
    left_green = before.last_known is Band.GREEN and band not in (None, Band.GREEN)
    return BandState(band=band, since=as_of, episode=before.episode + left_green, last_known=band or before.last_known)
