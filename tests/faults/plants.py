"""Faults to plant into the clean history: each makes one thing wrong, to one of its victims."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from services.notify.domain.delivery import delivery_id
from tests.faults.checker import Kind
from tests.faults.histories import TOLD, UNHEARD, WORKING, WORKSPACE, clean, waiting_forever
from tests.faults.history import Counted, DeadLetter, History, LogRecord, SlackMessage

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


Planted = tuple[History, str]
"""The history with the fault in it, and the subject under which it must be found."""
Planting = Callable[[History, int], Planted]
"""Takes a history and the number of the victim."""


@dataclass(frozen=True)
class Plant:
    """A finding of ``kind`` must follow. The faults of a ``group`` happen to the same things, of which there are
    ``victims``: one thing is not made wrong twice at a time."""

    kind: Kind
    group: str
    victims: int
    plant: Planting


PLANTS: dict[str, Plant] = {}


def plant(kind: Kind, group: str, victims: int) -> Callable[[Planting], Planting]:
    def register(planting: Planting) -> Planting:
        PLANTS[planting.__name__] = Plant(kind, group, victims, planting)
        return planting

    return register


# --- events ---

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
