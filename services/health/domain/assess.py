"""Everything decided about one account at one moment: what the score worker calls between loading and saving."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import msgspec

from libs.common.events import Band
from services.health.domain.bands import BandState, is_worse, leaves_at, settle_band
from services.health.domain.calendar import Calendar
from services.health.domain.facts import AccountFacts, weekly_usage
from services.health.domain.lifecycle import Segments, Stage, Stages, segment_of, stage_of
from services.health.domain.model import HealthModel
from services.health.domain.next_moment import next_moment
from services.health.domain.profile import Profile, profile_of
from services.health.domain.score import Scorecard, fingerprint_of, score
from services.health.domain.silence import SilenceState, settle_silence, silent_from


@dataclass(frozen=True)
class Rulebook:
    """All that people edit."""

    model: HealthModel
    segments: Segments
    stages: Stages
    calendar: Calendar

    @cached_property
    def fingerprint(self) -> str:
        """Tells rules that score alike from others."""
        return fingerprint_of(self.model, self.calendar)


class Standing(msgspec.Struct, frozen=True):
    """What must be remembered of an account from one scoring to the next, beside its facts. ``model`` is the
    fingerprint of the rules that judged."""

    band: BandState = BandState()
    silence: SilenceState = SilenceState()
    model: str = ""


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """The judgement of an account at ``scorecard.as_of``.

    ``before`` is the standing it had, ``standing`` the one to store. ``trend`` is usage per week, oldest first.
    ``next_moment`` is when to look again if nothing is heard.
    """

    profile: Profile
    segment: str
    stage: Stage
    scorecard: Scorecard
    before: Standing
    standing: Standing
    trend: tuple[int, ...]
    next_moment: datetime
    last_activity_at: datetime | None

    @property
    def band(self) -> Band | None:
        return self.standing.band.band

    @property
    def band_before(self) -> Band | None:
        """The last band that it had, however long it then lacked data."""
        return self.before.band.last_known

    @property
    def band_changed(self) -> bool:
        """From one band into another, under the same model: when the model was edited the customer did nothing.
        Entering its first band, or too little data, is no change that tells anything."""
        same_model = self.before.model in ("", self.standing.model)
        return same_model and None not in (self.band, self.band_before) and self.band is not self.band_before

    @property
    def band_worsened(self) -> bool:
        return self.band_changed and is_worse(self.band, self.band_before)

    @property
    def went_silent(self) -> bool:
        return self.standing.silence.episode > self.before.silence.episode


def assess(
    facts: AccountFacts, before: Standing, rules: Rulebook, as_of: datetime, *, quiet: bool = False
) -> Assessment:
    """The judgement of the account at ``as_of``, from its facts, what was remembered, and the rules.

    ``quiet``: nobody will be told, as after an import. Then, and in the first judgement under another model, the
    account stands at once where its score puts it: a patience that began here would end in an alert about something
    that the customer did not do.
    """
    scorecard = score(facts, rules.model, rules.calendar, as_of)
    silent_at = silent_from(facts.active_days, rules.model.silence, rules.calendar)
    at_once = quiet or before.model != rules.fingerprint
    standing = Standing(
        band=settle_band(before.band, scorecard.score, as_of, rules.model.bands, at_once=at_once),
        silence=settle_silence(before.silence, silent_at, as_of),
        model=rules.fingerprint,
    )
    return Assessment(
        profile=profile_of(facts.account_id, facts.traits),
        segment=segment_of(facts, rules.segments, as_of),
        stage=stage_of(facts, rules.stages, as_of),
        scorecard=scorecard,
        before=before,
        standing=standing,
        trend=weekly_usage(facts, rules.model.activity, as_of),
        next_moment=next_moment(facts.account_id, as_of, silent_at, leaves_at(standing.band, rules.model.bands)),
        last_activity_at=facts.last_activity_at,
    )
