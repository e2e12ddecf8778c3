"""The checker finds each planted fault, names it rightly, and finds nothing else."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.checker import Kind, check
from tests.faults.histories import EVENTS, TOLD, WORKING
from tests.faults.history import Counted, History, load, save
from tests.faults.plants import (
    HISTORY,
    PLANTS,
    changed,
    counted_though_neither_acknowledged_nor_on_the_log,
    log_of,
    never_counted,
    sent_and_not_in_slack,
    settled_as,
    two_events_of_a_user_in_the_other_order,
    two_messages_in_slack,
    unacknowledged_and_counted_twice,
    unacknowledged_on_the_log_and_never_counted,
)

T = TypeVar("T")


def found(history: History) -> list[tuple[Kind, str]]:
    return sorted((finding.kind, finding.subject) for finding in check(history))


def test_a_history_in_which_all_promises_were_kept_gives_nothing() -> None:
    assert check(HISTORY) == []
    assert len(HISTORY.sent) == WORKING * EVENTS + TOLD


def test_nor_does_one_whose_log_was_not_read() -> None:
    assert check(replace(HISTORY, log=None)) == []


def test_every_kind_of_finding_can_be_planted() -> None:
    assert {one.kind for one in PLANTS.values()} == set(Kind)


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found_and_named_and_nothing_else(name: str) -> None:
    for victim in range(PLANTS[name].victims):
        history, subject = PLANTS[name].plant(HISTORY, victim)
        assert found(history) == [(PLANTS[name].kind, subject)]
        (finding,) = check(history)
        assert subject in finding.words or subject in ("usage_total", "through_at")


CHOICES = sorted((one.group, victim, name) for name, one in PLANTS.items() for victim in range(one.victims))
INSIDE = {"slack": lambda n: ("touch", 2 * n), "mail": lambda n: ("touch", 2 * n + 1)}
"""Groups whose victims are those of another one."""


def victim_of(choice: tuple[str, int, str]) -> tuple[str, int]:
    group, number, _ = choice
    return INSIDE[group](number) if group in INSIDE else (group, number)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(CHOICES), max_size=12, unique_by=victim_of),
    st.randoms(use_true_random=False),
)
def test_any_faults_together_are_each_found_and_nothing_else(
    choices: list[tuple[str, int, str]], luck: random.Random
) -> None:
    history, planted = HISTORY, []
    for _, victim, name in choices:
        history, subject = PLANTS[name].plant(history, victim)
        planted.append((PLANTS[name].kind, subject))
    assert found(history) == sorted(planted)
    assert check(shuffled(history, luck)) == check(history), "the order in which things were recorded does not matter"


def shuffled(history: History, luck: random.Random) -> History:
    def mixed(items: tuple[T, ...]) -> tuple[T, ...]:
        return tuple(luck.sample(items, len(items)))

    return replace(
        history,
        sent=mixed(history.sent),
        expected=mixed(history.expected),
        accounts=mixed(history.accounts),
        counted=mixed(history.counted),
        touches=mixed(history.touches),
        deliveries=mixed(history.deliveries),
        slack=mixed(history.slack),
        mails=mixed(history.mails),
        log=mixed(log_of(history)),
        letters=mixed(history.letters),
    )


# --- what is no fault ---


def test_what_another_workspace_wrote_is_not_judged() -> None:
    others = [replace(one, key=f"30{one.key}", event_id=f"{one.event_id} of others") for one in log_of(HISTORY)]
    assert check(replace(HISTORY, log=(*log_of(HISTORY), *others))) == []


def test_events_that_share_a_name_are_judged_by_their_sum() -> None:
    sent = tuple(replace(one, event="Used") if one.account_id == "working-3" else one for one in HISTORY.sent)
    others = tuple(one for one in HISTORY.counted if one.account_id != "working-3")

    def counted(n: int) -> History:
        used = (Counted(account_id="working-3", event="Used", count=n),)
        return replace(HISTORY, sent=sent, counted=(*others, *used), usage_total=HISTORY.usage_total - EVENTS + n)

    ids = ", ".join(f"working-3/{n}" for n in range(EVENTS))
    assert found(counted(EVENTS)) == []
    assert found(counted(EVENTS - 1)) == [(Kind.LOST, ids)]
    assert found(counted(EVENTS + 1)) == [(Kind.DOUBLED, ids)]


def test_without_the_log_what_was_not_acknowledged_may_count_once_or_not_at_all() -> None:
    unread = replace(HISTORY, log=None)
    for plants in ([unacknowledged_on_the_log_and_never_counted], [counted_though_neither_acknowledged_nor_on_the_log]):
        assert check(plants[0](unread, 0)[0]) == []
    twice, subject = unacknowledged_and_counted_twice(unread, 0)
    assert found(twice) == [(Kind.DOUBLED, subject)]


def test_events_that_were_under_way_together_have_no_order() -> None:
    history, _ = two_events_of_a_user_in_the_other_order(HISTORY, 0)
    sent = changed(history.sent, lambda one: one.message_id == "working-2/2", first_sent_at=1.2)
    assert check(replace(history, sent=sent)) == []


def test_but_those_of_one_request_have() -> None:
    history, subject = two_events_of_a_user_in_the_other_order(HISTORY, 0)
    sent = changed(history.sent, lambda one: one.message_id == "working-2/2", first_sent_at=1.0)
    assert found(replace(history, sent=sent)) == [(Kind.REORDERED, subject)]


def test_an_event_is_held_against_all_that_were_answered_before_it() -> None:
    """The third stands before the first; the second, between them, was under way with both."""
    message = {"working-2/1": "working-2/3", "working-2/3": "working-2/1"}
    log = tuple(replace(one, event_id=message.get(one.event_id, one.event_id)) for one in log_of(HISTORY))
    sent = changed(HISTORY.sent, lambda one: one.message_id == "working-2/2", first_sent_at=0.9, acknowledged_at=9.0)
    assert found(replace(HISTORY, sent=sent, log=log)) == [(Kind.REORDERED, "user of working-2")]


def test_a_touch_that_was_taken_back_is_owed_to_nobody() -> None:
    history = settled_as(sent_and_not_in_slack(HISTORY, 0)[0], 0, "suppressed", "cancelled")
    expected = changed(history.expected, lambda one: one.account_id == "told-0", told_by=())
    assert check(replace(history, expected=expected)) == []


@pytest.mark.parametrize(("policy", "doubtful", "ok"), [("prefer_duplicate", 1, True), ("prefer_duplicate", 0, False)])
def test_a_webhook_may_tell_as_often_as_the_ledger_doubts(policy: str, doubtful: int, ok: bool) -> None:
    history, subject = two_messages_in_slack(replace(HISTORY, webhook_unknown=policy), 0)
    deliveries = changed(history.deliveries, lambda one: one.touch_id == subject, doubtful=doubtful)
    assert found(replace(history, deliveries=deliveries)) == ([] if ok else [(Kind.TOLD_TWICE, subject)])


def test_a_bot_may_not_however_much_the_ledger_doubts() -> None:
    history, subject = two_messages_in_slack(HISTORY, 0)
    deliveries = changed(history.deliveries, lambda one: one.touch_id == subject, doubtful=1)
    assert found(replace(history, deliveries=deliveries)) == [(Kind.TOLD_TWICE, subject)]


@pytest.mark.parametrize(("policy", "ok"), [("prefer_miss", True), ("prefer_duplicate", False)])
def test_a_webhook_may_miss_where_that_is_the_policy(policy: str, ok: bool) -> None:
    history = settled_as(sent_and_not_in_slack(HISTORY, 0)[0], 0, "failed", "outcome_unknown")
    deliveries = changed(history.deliveries, lambda one: one.touch_id == "touch-0", doubtful=1)
    history = replace(history, webhook_unknown=policy, deliveries=deliveries)
    assert found(history) == ([] if ok else [(Kind.NOT_TOLD, "touch-0")])


def test_thirty_seconds_are_counted_from_the_last_fault_or_the_end_of_the_load() -> None:
    assert HISTORY.seconds_to_recover == 5.5
    assert check(replace(HISTORY, through_at=52.0)) == []
    assert check(replace(HISTORY, load_ended_at=40.0, through_at=70.0)) == []
    assert replace(HISTORY, through_at=21.0).seconds_to_recover == 0.0


def test_a_history_can_be_kept_and_judged_again(tmp_path: Path) -> None:
    history, _ = two_messages_in_slack(HISTORY, 1)
    save(history, tmp_path / "history.json")
    again = load(tmp_path / "history.json")
    assert again == history
    assert [str(one) for one in check(again)] == [str(one) for one in check(history)]


def test_a_finding_reads_as_a_sentence() -> None:
    history, _ = never_counted(HISTORY, 0)
    (finding,) = check(history)
    place = next(one for one in log_of(HISTORY) if one.event_id == "working-2/1")
    assert str(finding) == (
        "lost: event working-2/1 («Used 1» number 1 of user of working-2, working-2) was counted never instead of "
        f"once; on the log: telemetry/{place.partition} at {place.offset}"
    )
