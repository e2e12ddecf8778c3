"""The demo's story comes true under the shipped rules, whatever weekday it begins on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from deploy.local.demo.customers import CUSTOMERS, Customer, Story
from deploy.local.demo.world import World
from libs.common.events import Band
from tests.unit.health.cases import RULES
from tests.unit.health.telling import Told, everything, tell

MONDAY = datetime(2026, 3, 2, 10, 30, tzinfo=UTC)
A_LETTER_WAITS_DAYS = 14
"""Of the playbook usage-decline for tech touch: silence must be found before its letter would go out."""


def as_it_should_be(world: World, customer: Customer, told: Told) -> bool:
    began_green = told.baseline.band is Band.GREEN and not told.baseline.went_silent
    stayed_green, kept_coming = not told.bands, not told.silent_on
    match customer.story:
        case Story.STEADY | Story.GROWS:
            return began_green and stayed_green and kept_coming
        case Story.OPENS_URGENT_TICKET:
            fell_at_once = 80 <= told.lost_at[world.ticket_opened_at] <= 200
            return began_green and stayed_green and kept_coming and fell_at_once
        case Story.DECLINES:
            left_green_once = bool(told.bands) and all(band is not Band.GREEN for _, band in told.bands)
            return began_green and left_green_once and told.bands[0][0] <= 25 and kept_coming
        case Story.FALLS_SILENT:
            letter_of_decline = told.bands[0][0] + A_LETTER_WAITS_DAYS
            return began_green and len(told.silent_on) == 1 and told.silent_on[0] < letter_of_decline


@pytest.mark.parametrize("weekday", range(7), ids=["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
def test_the_story_comes_true(weekday: int) -> None:
    world = World(MONDAY + timedelta(days=weekday), seed=weekday)
    happened = everything(world)
    told = [(customer, tell(world, customer, happened[customer.account_id], RULES)) for customer in CUSTOMERS]
    assert [customer.name for customer, one in told if not as_it_should_be(world, customer, one)] == []


def test_the_story_holds_over_a_year_end_too() -> None:
    """Holidays move the moment of silence by a day, not the story."""
    world = World(datetime(2025, 12, 10, tzinfo=UTC))
    silent = next(customer for customer in CUSTOMERS if customer.story is Story.FALLS_SILENT)
    assert as_it_should_be(world, silent, tell(world, silent, everything(world)[silent.account_id], RULES))
