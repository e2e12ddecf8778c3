"""What people read on an account's timeline: every finding, decision and touch, with its reason in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import assert_never

import msgspec

from libs.common.events import (
    AccountEvent,
    TouchCancelled,
    TouchDelivered,
    TouchFailed,
    TouchRequested,
    TouchSuppressed,
    derived_id,
)
from services.playbook.domain.runs import Decision, Ended, Finding, NotStarted, Run, Started, Waits, WaitsNoMore
from services.playbook.domain.steps import Withheld
from services.playbook.domain.touches import Result
from services.playbook.domain.words import day, finding_in_words, message_in_words, tier_in_words


class Kind(StrEnum):
    FINDING = "finding"
    RUN_STARTED = "run_started"
    RUN_NOT_STARTED = "run_not_started"
    RUN_ENDED = "run_ended"
    TOUCH_REQUESTED = "touch_requested"
    TOUCH_WITHHELD = "touch_withheld"
    TOUCH_CANCELLED = "touch_cancelled"
    TOUCH_DELIVERED = "touch_delivered"
    TOUCH_FAILED = "touch_failed"
    TOUCH_SUPPRESSED = "touch_suppressed"


@dataclass(frozen=True)
class Entry:
    """One line of an account's timeline. ``at`` is domain time; ``details`` are plain JSON values.

    ``entry_id`` follows from what the entry is about, so that the same thing is written once.
    """

    workspace: int
    account_id: str
    entry_id: str
    at: datetime
    kind: Kind
    title: str
    details: Mapping[str, object]


_NOT_SENT = {
    "observe": "this installation only observes so far",
    "kill_switch": "the kill switch is on",
    "no_recipient": "the account has no contact",
    "suppression_list": "the recipient is on the suppression list",
    "stale": "it would have come too late to be right",
    "cancelled": "it was not needed any more",
}


def of_finding(finding: Finding) -> Entry:
    facts = msgspec.to_builtins(finding)
    details = {name: value for name, value in facts.items() if name not in ("workspace", "account_id", "id")}
    return _entry(finding, Kind.FINDING, finding.id, finding.as_of, finding_in_words(finding), details)


def of_decision(decision: Decision, as_of: datetime) -> Entry | None:
    """None for a decision that people need not read."""
    match decision:
        case Started(run):
            return of_started(run, as_of)
        case Ended():
            return of_ended(decision, as_of)
        case NotStarted(playbook, finding, reason, words):
            return _entry(
                finding,
                Kind.RUN_NOT_STARTED,
                f"{playbook.name} {finding.id}",
                as_of,
                f"{playbook.title} did not start: {words}",
                {"playbook": playbook.name, "playbook_version": playbook.version, "reason": reason},
            )
        case Waits() | WaitsNoMore():
            return None
        case _:
            assert_never(decision)


def of_started(run: Run, as_of: datetime) -> Entry:
    title = f"{run.playbook.title} started ({tier_in_words(run.tier)}): {finding_in_words(run.finding)}"
    return _of_run(run, Kind.RUN_STARTED, as_of, title, {"reason": "started"})


def of_ended(ended: Ended, as_of: datetime) -> Entry:
    title = f"{ended.run.playbook.title} ended: {ended.words}"
    return _of_run(ended.run, Kind.RUN_ENDED, as_of, title, {"reason": ended.run.outcome})


def of_touch(touch: TouchRequested) -> Entry:
    details = {
        "touch_id": touch.id,
        "run_id": touch.run_id,
        "playbook": touch.playbook,
        "step": touch.step,
        "channel": touch.channel,
        "recipient": touch.recipient,
        "template": touch.template,
    }
    title = f"Requested: {message_in_words(touch.channel, touch.recipient)}"
    return _entry(touch, Kind.TOUCH_REQUESTED, touch.id, touch.requested_at, title, details)


def of_withheld(withheld: Withheld, as_of: datetime) -> Entry:
    run = withheld.run
    return _of_run(
        run,
        Kind.TOUCH_WITHHELD,
        as_of,
        f"{withheld.channel.value.capitalize()} withheld: it was due on {day(withheld.due_at)}, "
        f"more than {run.playbook.freshness_days} days ago",
        {"reason": "stale", "step": withheld.step, "channel": withheld.channel},
        n=f" {withheld.step}",
    )


def of_cancelled(cancelled: TouchCancelled, as_of: datetime) -> Entry:
    return _entry(
        cancelled,
        Kind.TOUCH_CANCELLED,
        cancelled.touch_id,
        as_of,
        f"Cancelled a message that had not been sent: {cancelled.reason}",
        {"touch_id": cancelled.touch_id, "reason": cancelled.reason},
    )


def of_result(result: Result) -> Entry:
    details: dict[str, object] = {
        "touch_id": result.touch_id,
        "run_id": result.run_id,
        "channel": result.channel,
        "recipient": result.recipient,
    }
    message = message_in_words(result.channel, result.recipient)
    match result:
        case TouchDelivered():
            kind, title = Kind.TOUCH_DELIVERED, f"Delivered: {message}"
            details |= {"provider_id": result.provider_id, "accepted_at": result.accepted_at.isoformat()}
        case TouchFailed():
            kind, title = Kind.TOUCH_FAILED, f"Failed: {message}: {result.reason}"
            details["reason"] = result.reason
        case TouchSuppressed():
            kind, title = Kind.TOUCH_SUPPRESSED, f"Not sent: {message}: {_NOT_SENT.get(result.reason, result.reason)}"
            details["reason"] = result.reason
        case _:
            assert_never(result)
    return _entry(result, kind, result.id, result.at, title, details)


def _of_run(run: Run, kind: Kind, at: datetime, title: str, details: Mapping[str, object], n: str = "") -> Entry:
    about = {
        "run_id": run.run_id,
        "playbook": run.playbook.name,
        "playbook_version": run.playbook.version,
        "tier": run.tier,
    }
    return _entry(run.finding, kind, run.run_id + n, at, title, about | dict(details))


def _entry(about: AccountEvent, kind: Kind, n: str, at: datetime, title: str, details: Mapping[str, object]) -> Entry:
    entry_id = derived_id(about.workspace, about.account_id, f"timeline {kind}", n)
    return Entry(about.workspace, about.account_id, entry_id, at, kind, title, details)
