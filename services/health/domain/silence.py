"""Silence: no person of an account that had a rhythm has done anything for longer than that rhythm explains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import msgspec
from pydantic import Field

from libs.common.config_file import ConfigModel
from services.health.domain.calendar import Calendar
from services.health.domain.facts import ActiveDay

RHYTHM_WITHIN = timedelta(days=730)
"""An account's rhythm is how it behaved of late; one event of a broken clock, decades ago, is no part of it."""


class SilenceRule(ConfigModel):
    """Silent is nothing for longer than ``least_working_days`` and than ``gap_multiple`` times the account's own
    ``gap_percentile`` gap between active days. With fewer than ``least_active_days`` there is no rhythm to miss."""

    least_working_days: float = Field(default=7, gt=0, le=90)
    gap_multiple: float = Field(default=3, ge=1, le=20)
    gap_percentile: int = Field(default=90, ge=1, le=100)
    least_active_days: int = Field(default=5, ge=2, le=60)


class SilenceState(msgspec.Struct, frozen=True):
    """What is remembered of an account between two scorings. ``since`` is None while it is not silent; ``episode``
    counts the times that it fell silent."""

    since: datetime | None = None
    episode: int = 0


def silent_from(active_days: Sequence[ActiveDay], rule: SilenceRule, calendar: Calendar) -> datetime | None:
    """The exact moment from which the account is silent unless somebody does something; None without a rhythm."""
    latest = max((active.last_at for active in active_days), default=None)
    days = sorted(active for active in active_days if latest and latest - active.last_at <= RHYTHM_WITHIN)
    if len(days) < rule.least_active_days:
        return None
    gaps = sorted(calendar.working_days_between(before.last_at, after.first_at) for before, after in pairwise(days))
    usual = gaps[math.ceil(len(gaps) * rule.gap_percentile / 100) - 1]
    patience = max(timedelta(days=rule.least_working_days), usual * rule.gap_multiple)
    return calendar.after_working_days(days[-1].last_at, patience)


def settle_silence(before: SilenceState, silent_at: datetime | None, as_of: datetime) -> SilenceState:
    """The state at ``as_of``, given what `silent_from` says. A late event may move ``since`` without ending the
    episode; only activity that explains the present ends it."""
    if silent_at is None or as_of < silent_at:
        return SilenceState(since=None, episode=before.episode)
    return SilenceState(since=silent_at, episode=before.episode + (before.since is None))
