from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from libs.common.events import Band
from services.health.domain import BandRule, BandState, leaves_at, settle_band
from tests.unit.health.cases import NOW, properly

RULE = BandRule(green_from=75, yellow_from=50, margin=3, patience_hours=24)
HOUR = timedelta(hours=1)


def after(*scores: int | None, every: timedelta = HOUR) -> BandState:
    """The state after these scores, in tenths, one every hour."""
    state = BandState()
    for step, score in enumerate(scores):
        state = settle_band(state, score, NOW + every * step, RULE)
    return state


@pytest.mark.parametrize(
    ("score", "band"), [(1000, Band.GREEN), (750, Band.GREEN), (749, Band.YELLOW), (500, Band.YELLOW), (499, Band.RED)]
)
def test_the_first_score_is_taken_as_it_is(score: int, band: Band) -> None:
    assert after(score) == BandState(band=band, since=NOW, episode=0, last_known=band)


def test_three_points_outside_leave_at_once() -> None:
    assert after(900, 721).band is Band.GREEN
    assert after(900, 720) == BandState(Band.YELLOW, NOW + HOUR, None, 1, Band.YELLOW)
    assert after(600, 779).band is Band.YELLOW
    assert after(600, 780).band is Band.GREEN


def test_a_day_outside_leaves_too() -> None:
    trembling = after(900, 740)
    assert (trembling.band, trembling.outside_since) == (Band.GREEN, NOW + HOUR)
    leaves = leaves_at(trembling, RULE)
    assert leaves == NOW + 25 * HOUR
    assert settle_band(trembling, 740, leaves - timedelta(microseconds=1), RULE).band is Band.GREEN
    assert settle_band(trembling, 740, leaves, RULE) == BandState(Band.YELLOW, leaves, None, 1, Band.YELLOW)


def test_what_the_customer_did_not_do_begins_no_patience() -> None:
    settled = settle_band(after(900), 740, NOW + 2 * HOUR, RULE, at_once=True)
    assert settled == BandState(Band.YELLOW, NOW + 2 * HOUR, None, 1, Band.YELLOW)
    assert settle_band(settled, 751, NOW + 3 * HOUR, RULE, at_once=True).band is Band.GREEN
    assert settle_band(settled, 740, NOW + 3 * HOUR, RULE, at_once=True) == settled


def test_a_patience_that_the_customer_began_is_not_cut_short_in_silence() -> None:
    trembling = after(900, 740)
    assert settle_band(trembling, 738, NOW + 2 * HOUR, RULE, at_once=True) == trembling
    assert settle_band(trembling, 760, NOW + 2 * HOUR, RULE, at_once=True).outside_since is None


def test_whoever_comes_back_inside_has_a_whole_day_again() -> None:
    assert after(900, 740, 750, 740).outside_since == NOW + 3 * HOUR
    assert leaves_at(after(900, 740, 750), RULE) is None


def test_a_deep_fall_skips_a_band() -> None:
    assert after(900, 300).band is Band.RED


def test_an_episode_is_a_time_that_green_was_left() -> None:
    assert after(900, 600, 300, 600).episode == 1
    assert after(900, 600, 900).episode == 1
    assert after(900, 600, 900, 600).episode == 2
    assert after(600, 300).episode == 0, "what was never green has not left it"


def test_too_little_data_is_no_band_and_no_episode() -> None:
    lost = after(900, None)
    assert (lost.band, lost.episode, lost.last_known) == (None, 0, Band.GREEN)
    assert after(900, None, None) == lost
    assert after(900, None, 900).episode == 0
    assert after(900, None, 300).episode == 1, "it left green while nobody could see it"
    assert after(None) == BandState()


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40))
@properly
def test_within_a_day_nothing_flaps_inside_the_margin(scores: list[int]) -> None:
    """Every change of band within a day goes at least a margin deep into what was left."""
    state = BandState()
    for step, score in enumerate(scores):
        before = state
        state = settle_band(before, score, NOW + step * timedelta(minutes=30), RULE)
        if before.band is not None and state.band is not before.band:
            assert RULE.outside_by(before.band, score) >= 30
            assert state.band is RULE.holds(score)


@given(st.lists(st.integers(721, 779), min_size=1, max_size=60))
@properly
def test_a_score_that_trembles_around_a_border_changes_bands_at_most_once_a_day(scores: list[int]) -> None:
    state, changed_at = settle_band(BandState(), scores[0], NOW, RULE), NOW - timedelta(days=1)
    for step, score in enumerate(scores):
        before, as_of = state, NOW + step * 5 * HOUR
        state = settle_band(before, score, as_of, RULE)
        if state.band is not before.band:
            assert as_of - changed_at >= RULE.patience
            changed_at = as_of


def test_bands_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="yellow_from 80 must be below green_from 75"):
        BandRule(green_from=75, yellow_from=80)
