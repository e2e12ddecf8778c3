"""The demo's world repeats itself exactly, and under the shipped rules its story comes true from every weekday."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from deploy.local.demo.customers import CUSTOMERS, Customer, Story, the_one_that
from deploy.local.demo.verdict import LEAST_EVENTS
from deploy.local.demo.world import STORY, Call, ProductEvent, World
from libs.common.config_file import load
from libs.common.events import Band
from services.health.domain.assess import Assessment, Rulebook, Standing, assess
from services.health.domain.calendar import Calendar
from services.health.domain.facts import AccountFacts, ActiveDay, DailyCount, Occurrence
from services.health.domain.lifecycle import Segments, Stages
from services.health.domain.model import HealthModel
from services.health.domain.silence import silent_from

A_THURSDAY = datetime(2026, 10, 22, 14, 20, tzinfo=UTC)
CONFIG = Path(__file__).parents[3] / "config"


def test_the_same_days_always_hold_the_same_events() -> None:
    world, again = World(A_THURSDAY), World(A_THURSDAY)
    start, middle, end = A_THURSDAY - timedelta(days=3), A_THURSDAY + timedelta(hours=5), A_THURSDAY + timedelta(days=2)
    assert world.between(start, middle) + world.between(middle, end) == again.between(start, end)
    assert World(A_THURSDAY, seed=2).between(start, end) != world.between(start, end)


def test_there_is_enough_to_count_and_every_id_is_unique() -> None:
    world = World(A_THURSDAY)
    events = world.between(world.history_begins, world.begins + STORY)
    assert len(events) >= LEAST_EVENTS
    assert len({event.id for event in events}) == len(events)
    assert sum(world.usage(world.history_begins, world.begins + STORY).values()) == len(events)


def test_everybody_is_named_and_grouped_so_that_no_event_is_left_over() -> None:
    world = World(A_THURSDAY)
    events = world.between(world.history_begins, world.begins + STORY)
    grouped = {event.user_id for event in events if event.call is Call.GROUP}
    identified = {event.user_id for event in events if event.call is Call.IDENTIFY}
    assert {event.user_id for event in events} == grouped == identified
    assert {event.account_id for event in events} == {customer.account_id for customer in CUSTOMERS}


def test_history_begins_before_every_baseline_and_shows_no_story_yet() -> None:
    world = World(A_THURSDAY)
    history = world.between(world.history_begins, world.begins)
    weeks = Counter(((world.begins - event.at).days // 7, event.account_id) for event in history)
    for customer in CUSTOMERS:
        of_account = [weeks[week, customer.account_id] for week in range(12)]
        assert min(of_account) > 0.5 * max(of_account)


# --- under the shipped rules ---


RULES = Rulebook(
    model=load(CONFIG / "health" / "default.yaml", HealthModel),
    segments=load(CONFIG / "segments.yaml", Segments),
    stages=load(CONFIG / "stages.yaml", Stages),
    calendar=load(CONFIG / "calendar.yaml", Calendar),
)


def facts_of(customer: Customer, events: Sequence[ProductEvent], as_of: datetime) -> AccountFacts:
    """What health would know of the account at ``as_of``."""
    calls: defaultdict[tuple[date, str], list[datetime]] = defaultdict(list)
    active: defaultdict[date, list[datetime]] = defaultdict(list)
    people: set[str] = set()
    kept = RULES.model.kept_properties
    known = [event for event in events if event.at < as_of]
    for event in known:
        calls[event.at.date(), event.counted_as].append(event.at)
        if RULES.model.activity.event_counts(event.counted_as):
            active[event.at.date()].append(event.at)
            if 1 <= (as_of.date() - event.at.date()).days <= 28:
                people.add(event.user_id)
    return AccountFacts(
        account_id=customer.account_id,
        first_seen_at=known[0].at,
        traits=[event.fields for event in known if event.call is Call.GROUP][-1],
        counts=tuple(DailyCount(day, name, len(at), min(at), max(at)) for (day, name), at in calls.items()),
        active_people={28: len(people)},
        active_days=tuple(ActiveDay(day, min(at), max(at)) for day, at in active.items()),
        occurrences=tuple(
            Occurrence(event.name, event.at, event.id, {name: event.fields[name] for name in kept[event.name]})
            for event in known
            if event.name in kept
        ),
    )


def lived(customer: Customer, world: World) -> list[Assessment]:
    """The account's judgements over the thirty days: at some noons, and at the moment of its silence."""
    every = 6 if customer.story in (Story.STEADY, Story.GROWS) else 2
    events = [
        event
        for event in world.between(world.history_begins, world.begins + STORY)
        if event.account_id == customer.account_id
    ]
    noons = [
        datetime.combine(world.begins.date() + timedelta(days=n), time(12, tzinfo=UTC)) for n in range(1, 31, every)
    ]
    at_the_end = facts_of(customer, events, world.begins + STORY)
    silent_at = silent_from(at_the_end.active_days, RULES.model.silence, RULES.calendar)
    moments = sorted([world.begins, *noons, *([silent_at] if silent_at and silent_at < noons[-1] else [])])
    standing, judgements = Standing(), []
    for moment in moments:
        judgements.append(assess(facts_of(customer, events, moment), standing, RULES, moment))
        standing = judgements[-1].standing
    return judgements


@pytest.mark.parametrize("weekday", range(7))
def test_the_story_comes_true_from_every_weekday(weekday: int) -> None:
    world = World(A_THURSDAY + timedelta(days=weekday))
    for customer in CUSTOMERS:
        judgements = lived(customer, world)
        bands = [one.band for one in judgements]
        silent = [one for one in judgements if one.went_silent]
        match customer.story:
            case Story.DECLINES:
                assert judgements[-1].segment == "enterprise"
                assert bands[:5] == [Band.GREEN] * 5
                assert bands[-1] is not Band.GREEN
                assert sum(one.band_changed for one in judgements) <= 2
                assert silent == []
            case Story.FALLS_SILENT:
                assert judgements[-1].segment == "small_business"
                assert [one.band_changed and one.band is Band.YELLOW for one in judgements].count(True) == 1
                assert len(silent) == 1
                assert timedelta(days=14) < silent[0].scorecard.as_of - world.begins < timedelta(days=25)
                left_green = next(one for one in judgements if one.band is not Band.GREEN)
                assert silent[0].scorecard.as_of - left_green.scorecard.as_of < timedelta(days=14)
            case Story.OPENS_URGENT_TICKET:
                scores = [one.scorecard.score or 0 for one in judgements]
                assert max(before - after for before, after in pairwise(scores)) >= 50
                assert set(bands) == {Band.GREEN}
            case _:
                assert set(bands) == {Band.GREEN}
                assert min(one.scorecard.score or 0 for one in judgements) >= 850
                assert silent == []


def test_the_ticket_belongs_to_an_account_that_stays_green() -> None:
    world = World(A_THURSDAY)
    events = world.between(world.ticket_opened_at, world.ticket_opened_at + timedelta(seconds=1))
    (opened,) = [event for event in events if event.name == "Ticket Opened"]
    assert opened.account_id == the_one_that(Story.OPENS_URGENT_TICKET).account_id
    assert opened.fields["priority"] == "urgent"
