"""The whole judgement, and the moment at which to look again."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import Band
from services.health.domain import (
    AccountFacts,
    Assessment,
    BandRule,
    BandState,
    HealthModel,
    Standing,
    assess,
    daily_moment,
    next_moment,
)
from tests.unit.health.cases import NOW, RULES, account, active, back, facts, properly, ticket
from tests.unit.health.test_score import healthy

MIDNIGHT = datetime(2026, 3, 19, tzinfo=UTC)


def test_the_first_judgement_is_a_baseline() -> None:
    dead = assess(account(active_days=(active(90),), traits={"seats": 5}), Standing(), RULES, NOW)
    assert (dead.band, dead.band_before, dead.band_changed) == (Band.RED, None, False)
    assert (dead.segment, dead.stage, dead.profile.name) == ("unknown", "adoption", "aoi")
    assert dead.last_activity_at == back(90, 17)


def test_a_change_of_band_is_told_against_the_last_one_known() -> None:
    green = assess(healthy(), Standing(), RULES, NOW)
    ill = healthy(occurrences=tuple(ticket(str(n), 1) for n in range(3)), active_people={28: 0})
    worse = assess(ill, green.standing, RULES, NOW)
    assert (worse.band_before, worse.band, worse.band_changed) == (Band.GREEN, Band.YELLOW, True)
    assert worse.standing.band.episode == 1
    assert worse.band_worsened
    recovered = assess(healthy(), worse.standing, RULES, NOW)
    assert (recovered.band_changed, recovered.band_worsened) == (True, False)
    assert not assess(ill, worse.standing, RULES, NOW).band_changed

    unknown = assess(AccountFacts(account_id="aoi"), green.standing, RULES, NOW)
    assert (unknown.band, unknown.band_changed) == (None, False)
    assert not assess(healthy(), unknown.standing, RULES, NOW).band_changed


def test_an_edited_model_moves_scores_but_tells_nobody() -> None:
    green = assess(healthy(active_people={28: 10}), Standing(), RULES, NOW)
    stricter = HealthModel.model_validate(RULES.model.model_dump() | {"bands": BandRule(green_from=92, yellow_from=90)})
    edited = replace(RULES, model=stricter)
    assert stricter.version == RULES.model.version, "as happens"
    moved = assess(healthy(active_people={28: 10}), green.standing, edited, NOW)
    assert (green.band, moved.band, moved.band_changed) == (Band.GREEN, Band.RED, False)
    back_again = assess(healthy(), moved.standing, edited, NOW)
    assert (back_again.band, back_again.band_changed) == (Band.GREEN, True)


def test_a_quiet_judgement_leaves_no_patience_that_would_alert_a_day_later() -> None:
    just_below = healthy(occurrences=(ticket("1", 1),), active_people={28: 5}, traits={"seats": 50})  # 73.0
    green = assess(healthy(), Standing(), RULES, NOW).standing
    assert assess(just_below, green, RULES, NOW).band is Band.GREEN, "news that trembles is waited for"
    for before, quiet in ((green, True), (msgspec.structs.replace(green, model="another"), False)):
        settled = assess(just_below, before, RULES, NOW, quiet=quiet)
        assert (settled.band, settled.standing.band.outside_since) == (Band.YELLOW, None)
        assert not assess(just_below, settled.standing, RULES, NOW + timedelta(days=2)).band_changed


def test_falling_silent_is_told_once() -> None:
    quiet = healthy(active_days=tuple(active(days_back) for days_back in range(12, 60)))
    fell = assess(quiet, Standing(), RULES, NOW)
    assert fell.went_silent
    again = assess(quiet, fell.standing, RULES, NOW)
    assert not again.went_silent
    assert again.standing.silence == fell.standing.silence


def test_accounts_are_looked_at_within_an_hour_after_midnight() -> None:
    moments = {daily_moment(f"account-{n}", NOW) for n in range(200)}
    assert len(moments) == 200
    assert all(MIDNIGHT <= moment < MIDNIGHT + timedelta(hours=1) for moment in moments)
    assert max(moments) - min(moments) > timedelta(minutes=50)
    mine = daily_moment("aoi", NOW)
    assert daily_moment("aoi", MIDNIGHT) == mine
    assert daily_moment("aoi", mine) == mine + timedelta(days=1)


def test_the_earliest_of_all_moments_counts() -> None:
    soon, later = NOW + timedelta(minutes=5), NOW + timedelta(minutes=9)
    assert next_moment("aoi", NOW, soon, later) == soon
    assert next_moment("aoi", NOW, None, later) == later
    assert next_moment("aoi", NOW, NOW, NOW - timedelta(days=3)) == daily_moment("aoi", NOW)


def test_a_trembling_band_is_looked_at_when_its_patience_ends() -> None:
    trembling = Standing(
        band=BandState(Band.GREEN, NOW, NOW - timedelta(hours=23), 0, Band.GREEN), model=RULES.fingerprint
    )
    just_below = healthy(occurrences=(ticket("1", 1),), active_people={28: 5}, traits={"seats": 50})
    judged = assess(just_below, trembling, RULES, NOW)
    assert (judged.scorecard.score, judged.band) == (730, Band.GREEN)
    assert judged.next_moment == NOW + timedelta(hours=1)
    assert assess(just_below, judged.standing, RULES, judged.next_moment).band is Band.YELLOW


@given(facts(), st.integers(0, 3600 * 9 - 1))
@properly
def test_until_midnight_or_the_next_moment_nothing_changes_by_itself(known: AccountFacts, seconds: int) -> None:
    first = assess(known, Standing(), RULES, NOW)
    later = NOW + timedelta(seconds=seconds)
    if later < first.next_moment:
        again = assess(known, first.standing, RULES, later)
        assert msgspec.structs.replace(again.scorecard, as_of=NOW) == first.scorecard
        assert (again.standing, again.next_moment) == (first.standing, first.next_moment)
        assert (again.segment, again.stage, again.trend) == (first.segment, first.stage, first.trend)


@given(facts())
@properly
def test_an_assessment_survives_being_stored(known: AccountFacts) -> None:
    judged = assess(known, Standing(), RULES, NOW)
    assert msgspec.json.decode(msgspec.json.encode(judged), type=Assessment) == judged
