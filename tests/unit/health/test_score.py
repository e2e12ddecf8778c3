"""The shipped model by hand, and what must hold for every account."""

from __future__ import annotations

import random
from datetime import timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from services.health.domain import AccountFacts, DailyCount, Presence, Scorecard, score
from tests.unit.health.cases import (
    NOW,
    RULES,
    TODAY,
    account,
    active,
    back,
    facts,
    one_measure,
    properly,
    ticket,
    used,
)

MODEL = RULES.model


def healthy(**changed: object) -> AccountFacts:
    """Full marks everywhere."""
    features = ("Report Created", "Report Exported", "Dashboard Viewed")
    known: dict[str, object] = {
        "counts": (*(used(days_back, 10) for days_back in range(1, 85)), *(used(1, 1, name) for name in features)),
        "active_days": tuple(active(days_back) for days_back in range(85)),
        "active_people": {28: 30},
        "traits": {"seats": 50},
    }
    return account(**(known | changed))


def by_measure(card: Scorecard) -> dict[str, tuple[int, int, int]]:
    return {line.measure: (line.weight, line.given, line.lost) for line in card.lines}


def test_a_healthy_account_has_every_point() -> None:
    card = score(healthy(), MODEL, RULES.calendar, NOW)
    assert (card.score, card.coverage, card.insufficient_data) == (1000, 1.0, False)
    assert {line.measure: line.weight for line in card.lines} == {
        "usage_trend": 440,  # 55 % of the score, 80 % of it
        "last_activity": 110,
        "seats_used": 150,
        "breadth": 100,
        "urgent_tickets": 200,
    }


def test_every_line_by_hand() -> None:
    card = score(
        healthy(
            counts=tuple(used(days_back, 10 if days_back > 28 else 7) for days_back in range(1, 85)),  # 70 % of usual
            active_days=(*(active(days_back) for days_back in range(7, 85)),),
            active_people={28: 17},  # 34 % of 50 seats
            occurrences=(ticket("1", 1),),
        ),
        MODEL,
        RULES.calendar,
        NOW,
    )
    assert by_measure(card) == {
        "usage_trend": (440, 251, 189),  # (0.70 - 0.50) / 0.35 = 571 marks; 440 * 0.571 = 251.2
        "last_activity": (110, 79, 31),  # 5 working days: 5 of 7, 714 marks
        "seats_used": (150, 72, 78),  # 480 marks
        "breadth": (100, 25, 75),  # one feature of four
        "urgent_tickets": (200, 80, 120),
    }
    assert card.score == 251 + 79 + 72 + 25 + 80


def test_missing_weight_goes_to_the_dimension_first() -> None:
    card = score(healthy(traits={}), MODEL, RULES.calendar, NOW)
    assert card.lines[2].presence is Presence.NOT_APPLICABLE
    assert {line.measure: line.weight for line in card.lines} == {
        "usage_trend": 440,
        "last_activity": 110,
        "seats_used": 0,
        "breadth": 250,
        "urgent_tickets": 200,
    }
    assert card.coverage == 0.85


def test_a_dimension_without_measures_gives_its_weight_to_the_others() -> None:
    # Ten days old: adoption is warming up and the trend has no past; what counts is last activity and tickets.
    card = score(healthy(first_seen_at=back(10)), MODEL, RULES.calendar, NOW)
    assert {line.measure: line.weight for line in card.lines} == {
        "usage_trend": 0,
        "last_activity": 733,  # 55 of 75
        "seats_used": 0,
        "breadth": 0,
        "urgent_tickets": 267,  # 20 of 75
    }
    assert card.coverage == 0.31
    assert card.score is None
    assert card.insufficient_data


def test_a_young_account_is_not_judged_by_one_quiet_week() -> None:
    """Without a past to compare with, the days since its last activity would weigh more than half of everything."""
    quiet_week = {"active_days": tuple(active(days_back) for days_back in range(9, 30))}
    for days in (28, 30, 55):
        card = score(healthy(first_seen_at=back(days), **quiet_week), MODEL, RULES.calendar, NOW)
        assert (card.coverage, card.score) == (0.56, None)
    grown = score(healthy(first_seen_at=back(56), **quiet_week), MODEL, RULES.calendar, NOW)
    assert (grown.coverage, grown.score) == (1.0, 1000 - 63)  # 7 working days: 429 of 1000 marks, 47 of 110 points


def test_nothing_known_is_no_score() -> None:
    model = one_measure(input={"kind": "usage"}, transform={"kind": "ratio_to_baseline", "zero_at": 0.5})
    card = score(AccountFacts(account_id="aoi"), model, RULES.calendar, NOW)
    assert (card.score, card.coverage, [line.weight for line in card.lines]) == (None, 0.0, [0])


def test_one_urgent_ticket_costs_several_points_and_leaves_a_healthy_account_green() -> None:
    ill = score(healthy(occurrences=(ticket("1", 0),)), MODEL, RULES.calendar, NOW).score
    assert ill is not None
    assert 80 <= 1000 - ill <= 200
    assert RULES.model.bands.holds(ill - 30) == "green"


def test_a_dead_account_is_red_for_ever() -> None:
    for days in (40, 90, 400):
        card = score(account(active_days=(active(days),), traits={"seats": 50}), MODEL, RULES.calendar, NOW)
        assert card.score == 200, "only that there is no ticket"


@given(facts())
@properly
def test_the_explanation_adds_up(known: AccountFacts) -> None:
    card = score(known, MODEL, RULES.calendar, NOW)
    counted = [line for line in card.lines if line.presence.counted]
    for line in card.lines:
        assert line.given + line.lost == line.weight
        assert min(line.given, line.lost) >= 0
        assert (line.marks is not None) == line.presence.counted == (line.weight > 0)
    assert sum(line.weight for line in card.lines) == (1000 if counted else 0)
    if card.score is not None:
        assert card.score == sum(line.given for line in card.lines) == 1000 - sum(line.lost for line in card.lines)
        assert 0 <= card.score <= 1000


@given(facts(), st.randoms(use_true_random=False))
@properly
def test_the_same_facts_give_the_same_bytes(known: AccountFacts, dice: random.Random) -> None:
    """And the order in which they were loaded is no fact."""
    shuffled = msgspec.structs.replace(
        known,
        counts=tuple(dice.sample(known.counts, len(known.counts))),
        occurrences=tuple(dice.sample(known.occurrences, len(known.occurrences))),
        active_days=tuple(dice.sample(known.active_days, len(known.active_days))),
    )
    one, other = (msgspec.json.encode(score(each, MODEL, RULES.calendar, NOW)) for each in (known, shuffled))
    assert one == other
    assert msgspec.json.decode(one, type=Scorecard) == score(known, MODEL, RULES.calendar, NOW)


@given(facts(), st.integers(1, 5))
@properly
def test_one_more_urgent_ticket_never_raises_a_score(known: AccountFacts, days_back: int) -> None:
    more = msgspec.structs.replace(known, occurrences=(*known.occurrences, ticket("new", days_back)))
    before, after = score(known, MODEL, RULES.calendar, NOW).score, score(more, MODEL, RULES.calendar, NOW).score
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        assert after <= before


@given(facts(), st.integers(1, 21), st.integers(1, 100))
@properly
def test_more_usage_now_never_lowers_a_score(known: AccountFacts, days_back: int, count: int) -> None:
    """Other things equal: the same people, on a day on which they were active anyway."""
    day = TODAY - timedelta(days=days_back)
    known = msgspec.structs.replace(
        known,
        active_days=(*(one for one in known.active_days if one.day != day), active(days_back)),
        active_people={28: max(known.active_people[28], 1)},
    )
    others = tuple(row for row in known.counts if (row.day, row.event) != (day, "Page Viewed"))
    had = sum(row.count for row in known.counts if (row.day, row.event) == (day, "Page Viewed"))
    less, more = (
        msgspec.structs.replace(known, counts=(*others, DailyCount(day, "Page Viewed", calls, back(1), back(1))))
        for calls in (had, had + count)
    )
    before, after = score(less, MODEL, RULES.calendar, NOW).score, score(more, MODEL, RULES.calendar, NOW).score
    if before is not None:
        assert after is None or after >= before
