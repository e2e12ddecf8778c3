"""The checker finds each planted fault, names it rightly, and finds nothing else."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.notify.domain.delivery import delivery_id
from tests.faults.checker import Kind, check
from tests.faults.histories import EVENTS, TOLD, UNHEARD, WORKING, WORKSPACE, clean, waiting_forever
from tests.faults.history import (
    Counted,
    DeadLetter,
    History,
    LogRecord,
    SlackMessage,
    load,
    save,
)

T = TypeVar("T")
HISTORY = clean()


def changed(items: tuple[T, ...], which: Callable[[T], bool], **changes: Any) -> tuple[T, ...]:
    assert any(map(which, items))
    return tuple(replace(one, **changes) if which(one) else one for one in items)  # type: ignore[type-var]


def without(items: Iterable[T], which: Callable[[T], bool]) -> tuple[T, ...]:
    kept = tuple(one for one in items if not which(one))
    assert len(kept) < len(tuple(items))
    return kept


def log_of(history: History) -> tuple[LogRecord, ...]:
    assert history.log is not None
    return history.log


# --- what can be planted: (history, number of the victim) -> (history, subject of the finding) --------------------

Planted = tuple[History, str]


@dataclass(frozen=True)
class Plant:
    """``kind`` must be found. ``victims`` says what it happens to; two plants never share one of the same group."""

    kind: Kind
    group: str
    victims: int
    plant: Callable[[History, int], Planted]


PLANTS: dict[str, Plant] = {}


def plant(
    kind: Kind, group: str, victims: int
) -> Callable[[Callable[[History, int], Planted]], Callable[..., Planted]]:
    def register(function: Callable[[History, int], Planted]) -> Callable[[History, int], Planted]:
        PLANTS[function.__name__] = Plant(kind, group, victims, function)
        return function

    return register


WORKERS = WORKING - 2
"""Working accounts without an unheard event; their numbers begin at 2."""


def worker(n: int) -> tuple[str, str, str]:
    """Account, message id and event name of one event of the nth working account."""
    return f"working-{n + 2}", f"working-{n + 2}/1", "Used 1"


@plant(Kind.LOST, "worker", WORKERS)
def never_counted(history: History, n: int) -> Planted:
    account, message, event = worker(n)
    counted = without(history.counted, lambda one: (one.account_id, one.event) == (account, event))
    return replace(history, counted=counted, usage_total=history.usage_total - 1), message


@plant(Kind.LOST, "worker", WORKERS)
def acknowledged_but_not_on_the_log(history: History, n: int) -> Planted:
    _, message, _ = worker(n)
    return replace(history, log=without(log_of(history), lambda one: one.event_id == message)), message


@plant(Kind.LOST, "worker", WORKERS)
def acknowledged_and_gone_altogether(history: History, n: int) -> Planted:
    return acknowledged_but_not_on_the_log(never_counted(history, n)[0], n)


@plant(Kind.DOUBLED, "worker", WORKERS)
def counted_twice(history: History, n: int) -> Planted:
    account, message, event = worker(n)
    counted = changed(history.counted, lambda one: (one.account_id, one.event) == (account, event), count=2)
    return replace(history, counted=counted, usage_total=history.usage_total + 1), message


@plant(Kind.GHOST, "worker", WORKERS)
def counted_though_nobody_sent_it(history: History, n: int) -> Planted:
    account, _, _ = worker(n)
    counted = (*history.counted, Counted(account_id=account, event="Used never", count=1))
    return replace(history, counted=counted, usage_total=history.usage_total + 1), account


@plant(Kind.GHOST, "worker", WORKERS)
def on_the_log_though_nobody_sent_it(history: History, n: int) -> Planted:
    _, message, _ = worker(n)
    found = next(one for one in log_of(history) if one.event_id == message)
    stranger = replace(found, event_id=f"{message} of somebody else", offset=found.offset + 1)
    return replace(history, log=(*log_of(history), stranger)), stranger.event_id


@plant(Kind.REORDERED, "worker", WORKERS)
def two_events_of_a_user_in_the_other_order(history: History, n: int) -> Planted:
    account, message, _ = worker(n)
    following = f"{account}/2"
    other = {message: following, following: message}
    log = tuple(replace(one, event_id=other.get(one.event_id, one.event_id)) for one in log_of(history))
    return replace(history, log=log), f"user of {account}"


@plant(Kind.REORDERED, "worker", WORKERS)
def a_key_in_two_partitions(history: History, n: int) -> Planted:
    account, message, _ = worker(n)
    found = next(one for one in log_of(history) if one.event_id == message)
    moved = replace(found, partition=(found.partition + 1) % 12, offset=100_001)
    return replace(history, log=(*log_of(history), moved)), f"{WORKSPACE}:user of {account}"


@plant(Kind.DOUBLED, "unheard", 1)
def unacknowledged_and_counted_twice(history: History, _n: int) -> Planted:
    event = {"account_id": "working-0", "event": "Used 2"}
    counted = changed(history.counted, lambda one: (one.account_id, one.event) == tuple(event.values()), count=2)
    return replace(history, counted=counted, usage_total=history.usage_total + 1), UNHEARD[0]


@plant(Kind.LOST, "unheard", 1)
def unacknowledged_on_the_log_and_never_counted(history: History, _n: int) -> Planted:
    counted = without(history.counted, lambda one: (one.account_id, one.event) == ("working-0", "Used 2"))
    return replace(history, counted=counted, usage_total=history.usage_total - 1), UNHEARD[0]


@plant(Kind.GHOST, "unheard", 1)
def counted_though_neither_acknowledged_nor_on_the_log(history: History, _n: int) -> Planted:
    counted = (*history.counted, Counted(account_id="working-1", event="Used 2", count=1))
    return replace(history, counted=counted, usage_total=history.usage_total + 1), UNHEARD[1]


@plant(Kind.LOST, "total", 1)
def applied_and_shown_under_no_account(history: History, _n: int) -> Planted:
    return replace(history, usage_total=history.usage_total + 1), "usage_total"


@plant(Kind.DOUBLED, "total", 1)
def shown_more_often_than_applied(history: History, _n: int) -> Planted:
    return replace(history, usage_total=history.usage_total - 1), "usage_total"


# --- accounts ---


@plant(Kind.LOST, "account", TOLD)
def a_version_that_was_never_published(history: History, n: int) -> Planted:
    log = without(log_of(history), lambda one: one.event_id == f"told-{n} v1")
    return replace(history, log=log), f"told-{n}"


@plant(Kind.DOUBLED, "account", TOLD)
def a_version_under_two_ids(history: History, n: int) -> Planted:
    found = next(one for one in log_of(history) if one.event_id == f"told-{n} v1")
    twin = replace(found, event_id=f"told-{n} v1 again", offset=found.offset + 1)
    return replace(history, log=(*log_of(history), twin)), f"told-{n}"


@plant(Kind.GHOST, "account", TOLD)
def a_version_that_health_does_not_know(history: History, n: int) -> Planted:
    found = next(one for one in log_of(history) if one.event_id == f"told-{n} v2")
    beyond = replace(found, event_id=f"told-{n} v3", sequence=3, offset=100_000)
    return replace(history, log=(*log_of(history), beyond)), f"told-{n}"


@plant(Kind.REORDERED, "account", TOLD)
def versions_in_the_other_order(history: History, n: int) -> Planted:
    log = list(log_of(history))
    versions = [one for one in log if one.key == f"{WORKSPACE}:told-{n}" and one.sequence is not None]
    for one in versions:
        log.remove(one)
        log.append(replace(one, sequence=3 - (one.sequence or 0), event_id=f"told-{n} v{3 - (one.sequence or 0)}"))
    return replace(history, log=tuple(log)), f"{WORKSPACE}:told-{n}"


@plant(Kind.LOST, "account", TOLD)
def a_finding_that_playbook_did_not_hear_of(history: History, n: int) -> Planted:
    accounts = changed(history.accounts, lambda one: one.account_id == f"told-{n}", findings=0)
    return replace(history, accounts=accounts), f"told-{n}"


@plant(Kind.GHOST, "account", TOLD)
def a_finding_that_health_did_not_publish(history: History, n: int) -> Planted:
    accounts = changed(history.accounts, lambda one: one.account_id == f"told-{n}", findings=2)
    return replace(history, accounts=accounts), f"told-{n}"


@plant(Kind.LOST, "account", TOLD)
def a_score_that_does_not_follow_from_the_facts(history: History, n: int) -> Planted:
    accounts = changed(history.accounts, lambda one: one.account_id == f"told-{n}", band="green")
    return replace(history, accounts=accounts), f"told-{n}"


# --- touches ---


def its_delivery(n: int) -> str:
    return str(delivery_id(WORKSPACE, f"touch-{n}"))


@plant(Kind.LOST, "touch", TOLD)
def a_touch_that_was_never_published(history: History, n: int) -> Planted:
    """Nobody is told of it either, which is the same fault."""
    log = without(log_of(history), lambda one: one.touch_id == f"touch-{n}")
    history = replace(
        history,
        log=log,
        deliveries=without(history.deliveries, lambda one: one.touch_id == f"touch-{n}"),
        touches=changed(history.touches, lambda one: one.touch_id == f"touch-{n}", state="requested"),
        slack=tuple(one for one in history.slack if one.delivery_id != its_delivery(n)),
        mails=tuple(one for one in history.mails if one.delivery_id != its_delivery(n)),
    )
    return history, f"touch-{n}"


@plant(Kind.LOST, "touch", TOLD)
def a_touch_that_is_not_in_the_ledger(history: History, n: int) -> Planted:
    return replace(
        history, deliveries=without(history.deliveries, lambda one: one.touch_id == f"touch-{n}")
    ), f"touch-{n}"


@plant(Kind.DOUBLED, "touch", TOLD)
def a_touch_twice_in_the_ledger(history: History, n: int) -> Planted:
    row = next(one for one in history.deliveries if one.touch_id == f"touch-{n}")
    return replace(history, deliveries=(*history.deliveries, replace(row, delivery_id="another"))), f"touch-{n}"


@plant(Kind.DOUBLED, "touch", TOLD)
def a_step_that_asked_twice(history: History, n: int) -> Planted:
    """The second one was taken back, but it should not have been there."""
    first = next(one for one in history.touches if one.touch_id == f"touch-{n}")
    row = next(one for one in history.deliveries if one.touch_id == f"touch-{n}")
    second = replace(first, touch_id=f"touch-{n} again", state="suppressed")
    told = [one for one in log_of(history) if one.touch_id == first.touch_id]
    copies = [
        replace(
            one,
            touch_id=second.touch_id,
            event_id=f"{one.event_id} again",
            offset=one.offset + 1,
            type=one.type.replace("delivered", "suppressed"),
        )
        for one in told
    ]
    suppressed = replace(row, delivery_id="second", touch_id=second.touch_id, state="suppressed", reason="cancelled")
    history = replace(
        history,
        touches=(*history.touches, second),
        deliveries=(*history.deliveries, suppressed),
        log=(*log_of(history), *copies),
    )
    return history, first.run_id


@plant(Kind.GHOST, "touch", TOLD)
def a_delivery_that_playbook_did_not_ask_for(history: History, n: int) -> Planted:
    row = next(one for one in history.deliveries if one.touch_id == f"touch-{n}")
    stranger = replace(row, touch_id=f"strange-{n}", delivery_id=f"of strange-{n}")
    return replace(history, deliveries=(*history.deliveries, stranger)), f"strange-{n}"


@plant(Kind.GHOST, "touch", TOLD)
def a_message_that_belongs_to_nothing(history: History, n: int) -> Planted:
    stranger = SlackMessage(channel="#cs", ts=f"1800000000.{n:06d}", via="bot_token", delivery_id=None)
    return replace(history, slack=(*history.slack, stranger)), stranger.ts


@plant(Kind.TOLD_TWICE, "slack", TOLD // 2)
def two_messages_in_slack(history: History, n: int) -> Planted:
    message = next(one for one in history.slack if one.delivery_id == its_delivery(2 * n))
    history = replace(history, slack=(*history.slack, replace(message, ts=f"1900000000.{n:06d}")))
    return history, f"touch-{2 * n}"


@plant(Kind.TOLD_TWICE, "mail", TOLD // 2)
def two_mails_with_two_ids(history: History, n: int) -> Planted:
    mail = next(one for one in history.mails if one.delivery_id == its_delivery(2 * n + 1))
    second = replace(mail, message_id=f"<{its_delivery(2 * n + 1)}@elsewhere.example>")
    return replace(history, mails=(*history.mails, second)), f"touch-{2 * n + 1}"


@plant(Kind.LEDGER_DIFFERS_FROM_INBOX, "mail", TOLD // 2)
def more_copies_than_the_ledger_knows_of(history: History, n: int) -> Planted:
    mail = next(one for one in history.mails if one.delivery_id == its_delivery(2 * n + 1))
    return replace(history, mails=(*history.mails, mail)), f"touch-{2 * n + 1}"


@plant(Kind.LEDGER_DIFFERS_FROM_INBOX, "slack", TOLD // 2)
def sent_and_not_in_slack(history: History, n: int) -> Planted:
    slack = without(history.slack, lambda one: one.delivery_id == its_delivery(2 * n))
    return replace(history, slack=slack), f"touch-{2 * n}"


@plant(Kind.LEDGER_DIFFERS_FROM_INBOX, "mail", TOLD // 2)
def sent_and_not_in_the_mailbox(history: History, n: int) -> Planted:
    mails = without(history.mails, lambda one: one.delivery_id == its_delivery(2 * n + 1))
    return replace(history, mails=mails), f"touch-{2 * n + 1}"


def settled_as(history: History, n: int, state: str, reason: str) -> History:
    """The delivery ended so, and everybody knows it; what the inbox shows stays."""
    log = tuple(
        replace(one, type=f"notify.touch_{state}.v1") if one.event_id == f"result of touch-{n}" else one
        for one in log_of(history)
    )
    return replace(
        history,
        log=log,
        deliveries=changed(history.deliveries, lambda one: one.touch_id == f"touch-{n}", state=state, reason=reason),
        touches=changed(history.touches, lambda one: one.touch_id == f"touch-{n}", state=state),
    )


@plant(Kind.LEDGER_DIFFERS_FROM_INBOX, "slack", TOLD // 2)
def failed_and_yet_in_slack(history: History, n: int) -> Planted:
    return settled_as(history, 2 * n, "failed", "expired"), f"touch-{2 * n}"


@plant(Kind.NOT_TOLD, "slack", TOLD // 2)
def failed_and_told_nobody(history: History, n: int) -> Planted:
    return settled_as(sent_and_not_in_slack(history, n)[0], 2 * n, "failed", "expired"), f"touch-{2 * n}"


@plant(Kind.NOT_TOLD, "slack", TOLD // 2)
def suppressed_and_told_nobody(history: History, n: int) -> Planted:
    return settled_as(sent_and_not_in_slack(history, n)[0], 2 * n, "suppressed", "stale"), f"touch-{2 * n}"


@plant(Kind.LOST, "touch", TOLD)
def a_result_that_was_never_published(history: History, n: int) -> Planted:
    history = replace(
        history,
        log=without(log_of(history), lambda one: one.event_id == f"result of touch-{n}"),
        touches=changed(history.touches, lambda one: one.touch_id == f"touch-{n}", state="requested"),
    )
    return history, f"touch-{n}"


@plant(Kind.DOUBLED, "touch", TOLD)
def two_results_of_one_delivery(history: History, n: int) -> Planted:
    result = next(one for one in log_of(history) if one.event_id == f"result of touch-{n}")
    second = replace(result, event_id=f"{result.event_id} again", offset=result.offset + 1)
    return replace(history, log=(*log_of(history), second)), f"touch-{n}"


@plant(Kind.LOST, "touch", TOLD)
def a_result_that_playbook_did_not_hear_of(history: History, n: int) -> Planted:
    touches = changed(history.touches, lambda one: one.touch_id == f"touch-{n}", state="requested")
    return replace(history, touches=touches), f"touch-{n}"


@plant(Kind.STUCK, "touch", TOLD)
def a_delivery_that_was_never_settled(history: History, n: int) -> Planted:
    history = replace(
        history,
        log=without(log_of(history), lambda one: one.event_id == f"result of touch-{n}"),
        deliveries=changed(history.deliveries, lambda one: one.touch_id == f"touch-{n}", state="unknown"),
        touches=changed(history.touches, lambda one: one.touch_id == f"touch-{n}", state="requested"),
    )
    return history, f"touch-{n}"


def with_another_touch(history: History, account: str, name: str) -> History:
    """Asked for, told and reported without a flaw, but nobody had a reason to."""
    pattern, row = HISTORY.touches[0], HISTORY.deliveries[0]
    touch = replace(pattern, touch_id=name, run_id=f"run of {name}", account_id=account)
    id_ = str(delivery_id(WORKSPACE, name))
    asked = [one for one in log_of(HISTORY) if one.touch_id == pattern.touch_id]
    key, offset = f"{WORKSPACE}:{account}", 200_000
    return replace(
        history,
        touches=(*history.touches, touch),
        deliveries=(*history.deliveries, replace(row, delivery_id=id_, touch_id=name, account_id=account)),
        slack=(*history.slack, SlackMessage(channel="#cs", ts=f"2 {name}", via="bot_token", delivery_id=id_)),
        log=(
            *log_of(history),
            *(replace(one, key=key, event_id=f"{one.type} {name}", touch_id=name, offset=offset) for one in asked),
        ),
    )


@plant(Kind.GHOST, "worker", WORKERS)
def told_of_an_account_that_is_well(history: History, n: int) -> Planted:
    return with_another_touch(history, f"working-{n + 2}", f"needless-{n}"), f"working-{n + 2}"


@plant(Kind.TOLD_TWICE, "expectation", 1)
def two_runs_for_one_finding(history: History, _n: int) -> Planted:
    history = with_another_touch(history, "told-0", "second")
    places = {one.topic: one.partition for one in history.log or () if one.key == f"{WORKSPACE}:told-0"}
    log = tuple(
        replace(one, partition=places[one.topic]) if one.touch_id == "second" else one for one in log_of(history)
    )
    return replace(history, log=log), "told-0"


@plant(Kind.NOT_TOLD, "expectation", 1)
def asked_for_by_nobody(history: History, _n: int) -> Planted:
    expected = changed(history.expected, lambda one: one.account_id == "working-0", told_by=("usage-decline",))
    return replace(history, expected=expected), "working-0"


# --- the rest ---


@plant(Kind.DEAD_LETTERS, "letter", 3)
def a_dead_letter(history: History, n: int) -> Planted:
    letter = DeadLetter(service="health", letter_id=f"letter-{n}", topic="telemetry", reason="breaks_contract")
    return replace(history, letters=(*history.letters, letter)), letter.letter_id


@plant(Kind.STUCK, "time", 1)
def something_that_waits_at_the_end(history: History, _n: int) -> Planted:
    return waiting_forever(history), "outbox of health"


@plant(Kind.STUCK, "time", 1)
def never_through(history: History, _n: int) -> Planted:
    return replace(history, through_at=None), "through_at"


@plant(Kind.STUCK, "time", 1)
def through_too_late(history: History, _n: int) -> Planted:
    return replace(history, through_at=22.0 + 30.1), "through_at"


# --- the tests ---------------------------------------------------------------------------------------------------


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


@settings(max_examples=300, deadline=None)
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
