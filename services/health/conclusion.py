"""What follows from an assessment: what to remember of the account, what to tell, and when to look again. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple, TypedDict

import msgspec

from libs.common.events import (
    AccountChanged,
    AccountWentSilent,
    Band,
    Event,
    HealthBandChanged,
    derived_id,
)
from services.health.domain import Assessment, Scorecard, SilenceState, Standing, points, reasons_for_change

SCORE_TOLD_EVERY = timedelta(hours=1)
"""Real time between two snapshots that differ in the score alone."""

COMPARED_WITHIN = timedelta(days=28)
"""How far back an alert compares: a gradual decline cannot be seen from the last scoring."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What `AccountChanged` says of an account."""

    name: str
    segment: str
    stage: str
    arr: float | None
    owner: str | None
    contact_email: str | None
    contact_name: str | None
    renewal_date: date | None
    band: Band | None
    score: float | None
    silent: bool = False


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of an account from one scoring to the next.

    ``as_of`` and ``silence_judged_at`` are domain time, ``told_at`` is real time: when ``told``, the snapshot of
    ``version``, was published. ``band_changes`` and ``silences`` count the events told, and give them their ids.
    """

    as_of: datetime
    silence_judged_at: datetime | None
    standing: Standing
    told: Snapshot
    told_at: datetime
    version: int
    band_changes: int
    silences: int


@dataclass(frozen=True)
class Circumstances:
    """How a scoring came about.

    ``quiet``: it tells nobody of findings, what it finds is taken as known. ``all_read``: everything accepted before
    its moment has been read, imported history too, so that nothing heard means that nobody spoke. ``due_at`` and
    ``now`` are real time. ``compared_with`` is the scorecard from which an alert measures
    (`comparison_for`); None: none stood where it is looked for.
    """

    quiet: bool
    all_read: bool
    due_at: datetime
    now: datetime
    compared_with: Scorecard | None = None


@dataclass(frozen=True)
class Conclusion:
    """``due_at`` is domain time, ``publish_at`` real time (None: nothing is owed)."""

    remembered: Remembered
    snapshot: Snapshot
    events: tuple[Event, ...]
    due_at: datetime
    publish_at: datetime | None


def conclude(
    workspace: int, account: str, before: Remembered | None, assessment: Assessment, how: Circumstances
) -> Conclusion:
    """``before`` is None the first time; then nothing is a finding, because nothing was known to change from."""
    as_of = assessment.scorecard.as_of
    standing, due_at = assessment.standing, assessment.next_moment
    if assessment.went_silent and not how.all_read:
        # Its people may have spoken in what is not read yet: look again, by time, once everything is.
        standing = msgspec.structs.replace(standing, silence=assessment.before.silence)
        due_at = assessment.standing.silence.since or due_at

    snapshot = _snapshot(assessment, silent=standing.silence.since is not None)
    version = before.version if before else 0
    told, told_at, publish_at = (before.told, before.told_at, None) if before else (snapshot, how.now, None)
    events: list[Event] = []
    if before is None or _must_tell(before, snapshot, how.now):
        version, told, told_at = version + 1, snapshot, how.now
        events.append(_account_changed(workspace, account, version, as_of, snapshot))
    elif snapshot != told:
        publish_at = told_at + SCORE_TOLD_EVERY

    band_changes, silences = (before.band_changes, before.silences) if before else (0, 0)
    about = _About(
        workspace=workspace,
        account_id=account,
        account_version=version,
        as_of=as_of,
        due_at=how.due_at,
        score=snapshot.score,
        band=snapshot.band,
        trend=assessment.trend,
    )
    if before and assessment.band_changed and not how.quiet:
        band_changes += 1
        events.append(_band_changed(about, band_changes, assessment, how.compared_with))
    if before and not how.quiet and (silence := _new_silence(before, assessment, standing.silence)):
        silences += 1
        events.append(_went_silent(about, silences, assessment, how.compared_with, silence))
    return Conclusion(
        remembered=Remembered(
            as_of=as_of,
            silence_judged_at=as_of if how.all_read else before.silence_judged_at if before else None,
            standing=standing,
            told=told,
            told_at=told_at,
            version=version,
            band_changes=band_changes,
            silences=silences,
        ),
        snapshot=snapshot,
        events=tuple(events),
        due_at=due_at,
        publish_at=publish_at,
    )


class Comparison(NamedTuple):
    """Which earlier scorecard an alert measures from: of those by the model with this ``fingerprint``, since ``since``
    (domain time), that stood in ``band`` (None: in any), the one farthest above ``score`` when the finding is a
    ``worse`` one, else farthest below it. So what is told never contradicts itself: a fall is told from a higher
    score, in the band that was left."""

    fingerprint: str
    since: datetime
    band: Band | None
    score: float
    worse: bool


def comparison_for(before: Remembered | None, assessment: Assessment) -> Comparison | None:
    """The earlier scorecard that `conclude` wants to know; None when it tells no finding."""
    if before is None or not (assessment.band_changed or assessment.went_silent):
        return None
    return Comparison(
        fingerprint=assessment.scorecard.fingerprint,
        since=assessment.scorecard.as_of - COMPARED_WITHIN,
        band=assessment.band_before if assessment.band_changed else None,
        score=_score_of(assessment.scorecard) or 0.0,
        worse=assessment.band_worsened or not assessment.band_changed,
    )


def _snapshot(assessment: Assessment, *, silent: bool) -> Snapshot:
    profile = assessment.profile
    return Snapshot(
        name=profile.name,
        segment=assessment.segment,
        stage=assessment.stage.value,
        arr=profile.arr,
        owner=profile.owner,
        contact_email=profile.contact_email,
        contact_name=profile.contact_name,
        renewal_date=profile.renewal_date,
        band=assessment.band,
        score=_score_of(assessment.scorecard),
        silent=silent,
    )


def _must_tell(before: Remembered, snapshot: Snapshot, now: datetime) -> bool:
    if snapshot == before.told:
        return False
    only_score = msgspec.structs.replace(snapshot, score=before.told.score) == before.told
    return not only_score or now >= before.told_at + SCORE_TOLD_EVERY


class _About(TypedDict):
    """What all findings say."""

    workspace: int
    account_id: str
    account_version: int
    as_of: datetime
    due_at: datetime
    score: float | None
    band: Band | None
    trend: tuple[int, ...]


class _Silence(NamedTuple):
    last_activity_at: datetime
    since: datetime
    episode: int


def _new_silence(before: Remembered, assessment: Assessment, settled: SilenceState) -> _Silence | None:
    """The silence that has just begun. Late events may show that the account *was* silent by a moment that has been
    judged already; that is a correction of the past and no news."""
    if not assessment.went_silent or settled.since is None or assessment.last_activity_at is None:
        return None
    if before.silence_judged_at is None or settled.since <= before.silence_judged_at:
        return None
    return _Silence(assessment.last_activity_at, settled.since, settled.episode)


def _band_changed(about: _About, n: int, assessment: Assessment, compared_with: Scorecard | None) -> HealthBandChanged:
    return HealthBandChanged(
        **about,
        id=derived_id(about["workspace"], about["account_id"], "band_changed", n),
        episode=assessment.standing.band.episode,
        reasons=reasons_for_change(compared_with, assessment.scorecard, worse=assessment.band_worsened),
        band_before=assessment.band_before,
        score_before=_score_of(compared_with),
    )


def _went_silent(
    about: _About, n: int, assessment: Assessment, compared_with: Scorecard | None, silence: _Silence
) -> AccountWentSilent:
    return AccountWentSilent(
        **about,
        id=derived_id(about["workspace"], about["account_id"], "went_silent", n),
        episode=silence.episode,
        reasons=reasons_for_change(compared_with, assessment.scorecard, worse=True),
        last_activity_at=silence.last_activity_at,
        expected_by=silence.since,
    )


def _account_changed(workspace: int, account: str, version: int, as_of: datetime, snapshot: Snapshot) -> AccountChanged:
    return AccountChanged(
        workspace=workspace,
        id=derived_id(workspace, account, "account_changed", version),
        account_id=account,
        version=version,
        as_of=as_of,
        **msgspec.structs.asdict(snapshot),
    )


def _score_of(scorecard: Scorecard | None) -> float | None:
    return points(scorecard.score) if scorecard and scorecard.score is not None else None
