from __future__ import annotations

import msgspec
from hypothesis import given

from services.health.domain import AccountFacts, reasons_for_change, score
from tests.unit.health.cases import NOW, RULES, account, facts, properly, ticket
from tests.unit.health.test_score import healthy

MODEL = RULES.model
WELL = score(healthy(), MODEL, NOW)


def test_a_fall_is_told_by_what_lost_most() -> None:
    ill = score(healthy(occurrences=(ticket("1", 0),), active_people={28: 25}), MODEL, NOW)
    told = reasons_for_change(WELL, ill)
    assert [(reason.measure, reason.points_lost, reason.change) for reason in told] == [
        ("urgent_tickets", 12.0, -12.0),
        ("seats_used", 3.0, -3.0),
    ]
    assert (told[0].title, told[0].value) == ("Urgent tickets", "1 open")
    assert told[0].threshold.startswith("full marks below 1, 40 of 100 marks from 1 below 2")


def test_a_rise_is_told_by_what_was_won() -> None:
    ill = score(healthy(occurrences=(ticket("1", 0),)), MODEL, NOW)
    assert [(reason.measure, reason.change) for reason in reasons_for_change(ill, WELL)] == [("urgent_tickets", 12.0)]


def test_what_cost_points_before_and_still_does_is_no_reason_for_a_change() -> None:
    few_people = {"active_people": {28: 20}}
    before = score(healthy(**few_people), MODEL, NOW)
    after = score(healthy(occurrences=(ticket("1", 0),), **few_people), MODEL, NOW)
    assert [reason.measure for reason in reasons_for_change(before, after)] == ["urgent_tickets"]


def test_without_anything_to_compare_with_it_is_what_costs_most() -> None:
    ill = score(healthy(occurrences=(ticket("1", 0),), active_people={28: 20}), MODEL, NOW)
    other_model = msgspec.structs.replace(WELL, model_version=WELL.model_version + 1)
    for before in (None, other_model, ill):
        told = reasons_for_change(before, ill)
        assert [(reason.measure, reason.change) for reason in told] == [("urgent_tickets", 0.0), ("seats_used", 0.0)]


def test_at_most_three() -> None:
    dead = score(account(traits={"seats": 5}), MODEL, NOW)
    assert len(reasons_for_change(WELL, dead, most=1)) == 1
    assert reasons_for_change(WELL, WELL) == ()


@given(facts(), facts())
@properly
def test_changes_add_up_to_the_difference_of_the_scores(one: AccountFacts, other: AccountFacts) -> None:
    before, after = score(one, MODEL, NOW), score(other, MODEL, NOW)
    if before.score is None or after.score is None:
        return
    won = {line.measure: line.lost for line in before.lines}
    assert sum(won[line.measure] - line.lost for line in after.lines) == after.score - before.score
    for reason in reasons_for_change(before, after):
        assert reason.change * (after.score - before.score) >= 0
