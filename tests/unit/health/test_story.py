"""The demo's story comes true under the shipped rules, whatever weekday it begins on."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from libs.common.events import Band
from tests.unit.health.cases import RULES
from tests.unit.health.story import CAST, STORY_DAYS, Character, Fate
from tests.unit.health.telling import Told, tell

MONDAY = date(2026, 3, 2)
A_TOUCH_WAITS_DAYS = 14
"""Of the playbook usage-decline for tech touch: silence must be found before its letter would go out."""


def as_it_should_be(character: Character, told: Told) -> bool:
    began_green = told.baseline is not None and told.baseline.band is Band.GREEN and not told.baseline.went_silent
    stayed_green, kept_coming = not told.bands, not told.silent_on
    match character.fate:
        case Fate.STEADY | Fate.GROWS:
            return began_green and stayed_green and kept_coming
        case Fate.OPENS_URGENT_TICKET:
            fell_at_once = told.ticket_cost is not None and 80 <= told.ticket_cost <= 200
            return began_green and stayed_green and kept_coming and fell_at_once
        case Fate.DECLINES:
            left_green_once = bool(told.bands) and all(band is not Band.GREEN for _, band in told.bands)
            return began_green and left_green_once and told.bands[0][0] <= 27 and kept_coming
        case Fate.FALLS_SILENT:
            letter_of_decline = (told.bands[0][0] if told.bands else STORY_DAYS) + A_TOUCH_WAITS_DAYS
            return began_green and len(told.silent_on) == 1 and told.silent_on[0] < letter_of_decline


@pytest.mark.parametrize("weekday", range(7), ids=["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
def test_the_story_comes_true(weekday: int) -> None:
    begins = MONDAY + timedelta(days=weekday)
    told = [(character, tell(character, begins, RULES, seed=weekday)) for character in CAST]
    assert [character.account_id for character, one in told if not as_it_should_be(character, one)] == []


def test_the_story_holds_over_a_year_end_too() -> None:
    """Holidays move the moment of silence by a day, not the story."""
    silent = next(character for character in CAST if character.fate is Fate.FALLS_SILENT)
    assert as_it_should_be(silent, tell(silent, date(2025, 12, 10), RULES, seed=1))
