from __future__ import annotations

import msgspec
from hypothesis import given

from services.health.domain import AccountFacts, reasons_for_change, score
from tests.unit.health.cases import NOW, RULES, account, facts, properly, ticket
from tests.unit.health.test_score import healthy

MODEL = RULES.model
WELL = score(healthy(), MODEL, RULES.calendar, NOW)


def test_a_fall_is_told_by_what_lost_most() -> None:
    ill = score(healthy(occurrences=(ticket("1", 0),), active_people={28: 25}), MODEL, RULES.calendar, NOW)
    told = reasons_for_change(WELL, ill, worse=True)
    assert [(reason.measure, reason.points_lost, reason.change) for reason in told] == [
        ("urgent_tickets", 12.0, -12.0),
        ("seats_used", 3.0, -3.0),
    ]
    assert (told[0].title, told[0].value) == ("Urgent tickets", "1 open")
    assert told[0].threshold.startswith("full marks below 1, 40 of 100 marks from 1 below 2")


def test_a_rise_is_told_by_what_was_won() -> None:
    ill = score(healthy(occurrences=(ticket("1", 0),)), MODEL, RULES.calendar, NOW)
    told = reasons_for_change(ill, WELL, worse=False)
    assert [(reason.measure, reason.change) for reason in told] == [("urgent_tickets", 12.0)]


def test_what_cost_points_before_and_still_does_is_no_reason_for_a_change() -> None:
    few_people = {"active_people": {28: 20}}
    before = score(healthy(**few_people), MODEL, RULES.calendar, NOW)
    after = score(healthy(occurrences=(ticket("1", 0),), **few_people), MODEL, RULES.calendar, NOW)
    told = reasons_for_change(before, after, worse=True)
    assert [reason.measure for reason in told] == ["urgent_tickets"]


def test_a_finding_that_is_worse_is_told_by_what_costs_most_when_nothing_lost_since() -> None:
    """An account that falls silent while it is better off than it was a month ago."""
    dire = score(
        healthy(active_people={28: 5}, occurrences=(ticket("1", 0), ticket("2", 0))), MODEL, RULES.calendar, NOW
    )
    ill = score(healthy(occurrences=(ticket("1", 0),)), MODEL, RULES.calendar, NOW)
    told = reasons_for_change(dire, ill, worse=True)
    assert [(reason.measure, reason.points_lost) for reason in told] == [("urgent_tickets", 12.0)]
    assert reasons_for_change(ill, dire, worse=False) == ()


def test_without_anything_to_compare_with_it_is_what_costs_most() -> None:
    ill = score(healthy(occurrences=(ticket("1", 0),), active_people={28: 20}), MODEL, RULES.calendar, NOW)
    other_model = msgspec.structs.replace(WELL, fingerprint="another")
    for before in (None, other_model, ill):
        told = reasons_for_change(before, ill, worse=True)
        assert [(reason.measure, reason.change) for reason in told] == [("urgent_tickets", 0.0), ("seats_used", 0.0)]


def test_another_wording_of_the_same_model_can_be_compared() -> None:
    reworded = msgspec.structs.replace(WELL, model_version=WELL.model_version + 1)
    ill = score(healthy(occurrences=(ticket("1", 0),)), MODEL, RULES.calendar, NOW)
    assert reasons_for_change(reworded, ill, worse=True) == reasons_for_change(WELL, ill, worse=True)


def test_at_most_three() -> None:
    dead = score(account(traits={"seats": 5}), MODEL, RULES.calendar, NOW)
    assert len(reasons_for_change(WELL, dead, worse=True, most=1)) == 1
    assert reasons_for_change(WELL, WELL, worse=True) == ()


@given(facts(), facts())
@properly
def test_changes_add_up_to_the_difference_of_the_scores(one: AccountFacts, other: AccountFacts) -> None:
    before, after = score(one, MODEL, RULES.calendar, NOW), score(other, MODEL, RULES.calendar, NOW)
    if before.score is None or after.score is None:
        return
    won = {line.measure: line.lost for line in before.lines}
    assert sum(won[line.measure] - line.lost for line in after.lines) == after.score - before.score
    for reason in reasons_for_change(before, after, worse=False):
        assert reason.change > 0


@given(facts(), facts())
@properly
def test_what_costs_nothing_or_won_is_never_a_reason_for_something_worse(
    one: AccountFacts, other: AccountFacts
) -> None:
    before, after = score(one, MODEL, RULES.calendar, NOW), score(other, MODEL, RULES.calendar, NOW)
    told = reasons_for_change(before, after, worse=True)
    assert all(reason.points_lost > 0 and reason.change <= 0 for reason in told)
    assert told or not any(line.lost for line in after.lines)
