"""Judges what a run under faults left behind. Pure: the same history gives the same findings, in the same order.

Each fault of the system is told once, at the first place on an event's way that shows it: a touch that never reached
notify is lost, and that nobody was told is then not said a second time.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TypeVar

from services.notify.domain.delivery import delivery_id
from tests.faults.history import Account, Delivery, History, LogRecord, Sent, Touch

RECOVERY_SECONDS = 30.0
"""Within this time of the end of the last fault, and of the load, everything must be through."""

TELEMETRY = "telemetry.received.v1"
ACCOUNT = "health.account_changed.v1"
FINDINGS = {"health.band_changed.v1", "health.account_went_silent.v1"}
REQUESTED = "playbook.touch_requested.v1"
RESULT_OF = {
    "sent": "notify.touch_delivered.v1",
    "failed": "notify.touch_failed.v1",
    "suppressed": "notify.touch_suppressed.v1",
}
"""What notify says on the log of a delivery in this state; a delivery in another one is not settled."""
TOUCH_STATE_OF = {"sent": "delivered", "failed": "failed", "suppressed": "suppressed"}
KEYLESS = {"telemetry.source_went_live.v1"}
"""Appended to every partition on purpose, whatever their key."""


class Kind(StrEnum):
    LOST = "lost"  # it happened, and what had to follow did not
    DOUBLED = "doubled"  # it had its effect twice
    GHOST = "ghost"  # an effect of nothing that happened
    REORDERED = "reordered"  # what has one key is on the log in another order than it happened
    TOLD_TWICE = "told_twice"
    NOT_TOLD = "not_told"
    LEDGER_DIFFERS_FROM_INBOX = "ledger_differs_from_inbox"
    DEAD_LETTERS = "dead_letters"
    STUCK = "stuck"


@dataclass(frozen=True, order=True)
class Finding:
    """``subject`` is the id of what it is about, ``words`` the whole of it in a sentence."""

    kind: Kind
    subject: str
    words: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.words}"


def check(history: History) -> list[Finding]:
    """Everything that is wrong with a run; an empty list when all promises were kept."""
    log = _Log.of(history)
    return [
        *_events(history, log),
        *_accounts(history, log),
        *_touches(history, log),
        *_strangers(history),
        *_told_as_expected(history),
        *_order(history, log),
        *_letters(history),
        *_stuck(history),
    ]


T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


def _grouped(items: Iterable[tuple[K, T]]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = defaultdict(list)
    for key, item in items:
        groups[key].append(item)
    return dict(groups)


def _times(n: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(n, f"{n} times")


@dataclass(frozen=True)
class _Log:
    """The workspace's records on the event log by what they are about, each list in the order of offsets."""

    is_read: bool
    by_event: Mapping[tuple[str, str], list[LogRecord]]
    """By type and event id."""
    by_key: Mapping[tuple[str, str, str], list[LogRecord]]
    """By topic, key and type."""
    about_touch: Mapping[tuple[str, str], list[LogRecord]]
    """By type and touch."""

    @classmethod
    def of(cls, history: History) -> _Log:
        records = sorted(history.log or (), key=lambda one: (one.topic, one.partition, one.offset))
        records = [
            one
            for one in records
            if one.key.startswith(f"{history.workspace}:")
            and not one.topic.endswith("-dlq")
            and one.type not in KEYLESS
        ]
        return cls(
            is_read=history.log is not None,
            by_event=_grouped(((one.type, one.event_id), one) for one in records),
            by_key=_grouped(((one.topic, one.key, one.type), one) for one in records),
            about_touch=_grouped(((one.type, one.touch_id), one) for one in records if one.touch_id is not None),
        )


def _place(record: LogRecord) -> str:
    return f"{record.topic}/{record.partition} at {record.offset}"


# --- from the product to health's count --------------------------------------------------------------------------


def _events(history: History, log: _Log) -> Iterator[Finding]:
    """What was acknowledged, and what the log holds, counts once; nothing else counts."""
    sent = _grouped(((one.account_id, one.event), one) for one in history.sent)
    counted = {(one.account_id, one.event): one.count for one in history.counted}
    for key in sorted(sent.keys() | counted.keys()):
        if key in sent:
            yield from _one_name(sorted(sent[key], key=lambda one: one.message_id), counted.get(key, 0), log)
        else:
            account, event = key
            words = f"account {account} has «{event}» counted {_times(counted[key])}, which nobody sent"
            yield Finding(Kind.GHOST, account, words)
    known = {one.message_id for one in history.sent}
    for (kind, message), records in sorted(log.by_event.items()):
        if kind == TELEMETRY and message not in known:
            yield Finding(
                Kind.GHOST, message, f"event {message} is on the log ({_place(records[0])}), and nobody sent it"
            )
    shown = sum(one.count for one in history.counted)
    if history.usage_total > shown:
        words = f"{history.usage_total} events were applied, but the accounts together show only {shown}"
        yield Finding(Kind.LOST, "usage_total", words)
    if history.usage_total < shown:
        words = f"{history.usage_total} events were applied, but the accounts together show {shown}"
        yield Finding(Kind.DOUBLED, "usage_total", words)


def _one_name(events: list[Sent], counted: int, log: _Log) -> Iterator[Finding]:
    """Judges the events that share an account and a name, as a rule a single one, by how often they were counted.

    Where the log was read, it says what must count; else that is what was acknowledged, and the rest may."""
    logged = [log.by_event.get((TELEMETRY, event.message_id), []) for event in events]
    acknowledged = [event.acknowledged_at is not None for event in events]
    certain = sum(map(bool, logged)) if log.is_read else sum(acknowledged)
    dropped = [
        event for event, answered, records in zip(events, acknowledged, logged, strict=True) if answered and not records
    ]
    for event in dropped if log.is_read else ():
        found = "and was counted all the same" if counted > certain else "and was never counted"
        words = f"{_described(event)} was acknowledged, but is not on the log {found}"
        yield Finding(Kind.LOST, event.message_id, words)
    possible = certain + len(dropped) if log.is_read else len(events)
    ids = ", ".join(event.message_id for event in events)
    what = _described(events[0]) if len(events) == 1 else f"of {len(events)} events ({ids}) one or another"
    if counted < certain:
        where = ", ".join(_place(records[0]) for records in logged if records)
        words = f"{what} was counted {_times(counted)} instead of {_times(certain)}; on the log: {where or 'not read'}"
        yield Finding(Kind.LOST, ids, words)
    elif counted > len(events):
        where = ", ".join(_place(record) for records in logged for record in records) or "not read"
        words = f"{what} was sent {_times(len(events))} and counted {_times(counted)}; on the log: {where}"
        yield Finding(Kind.DOUBLED, ids, words)
    elif counted > possible:
        yield Finding(Kind.GHOST, ids, f"{what} was counted {_times(counted)}, but is on the log {_times(certain)}")


def _described(event: Sent) -> str:
    return f"event {event.message_id} («{event.event}» number {event.sequence} of {event.user_id}, {event.account_id})"


# --- from health to playbook -------------------------------------------------------------------------------------


def _accounts(history: History, log: _Log) -> Iterator[Finding]:
    """Each version of an account is published, each finding reaches playbook, and the score is the right one."""
    shown = {one.account_id: one for one in history.accounts}
    for expected in sorted(history.expected, key=lambda one: one.account_id):
        account = shown.get(expected.account_id)
        if account is None:
            words = f"account {expected.account_id} is not known to health"
            yield Finding(Kind.LOST, expected.account_id, words)
        elif expected.band is not None and account.band != expected.band:
            words = (
                f"account {account.account_id} must end {expected.band}, and health says {account.band or 'nothing'}"
            )
            yield Finding(Kind.LOST, account.account_id, words)
    if log.is_read:
        for _, account in sorted(shown.items()):
            yield from _published(account, f"{history.workspace}:{account.account_id}", log)


def _published(account: Account, key: str, log: _Log) -> Iterator[Finding]:
    versions = _grouped((one.sequence, one.event_id) for one in log.by_key.get(("health", key, ACCOUNT), []))
    name = account.account_id
    for version in range(1, account.version + 1):
        ids = set(versions.pop(version, []))
        if not ids:
            yield Finding(Kind.LOST, name, f"version {version} of account {name} is not on the log")
        if len(ids) > 1:
            words = f"version {version} of account {name} was published as {len(ids)} events: {', '.join(sorted(ids))}"
            yield Finding(Kind.DOUBLED, name, words)
    for beyond, _ in sorted(versions.items(), key=str):
        words = f"version {beyond} of account {name} is on the log, and health only knows {account.version}"
        yield Finding(Kind.GHOST, name, words)
    found = len({one.event_id for kind in FINDINGS for one in log.by_key.get(("health", key, kind), [])})
    if account.findings != found:
        words = (
            f"health published {found} findings about account {name}, and playbook's timeline has {account.findings}"
        )
        yield Finding(Kind.LOST if account.findings < found else Kind.GHOST, name, words)


# --- from playbook to a person and back --------------------------------------------------------------------------


def _touches(history: History, log: _Log) -> Iterator[Finding]:
    """Each touch is in notify's ledger once, the inbox shows what the ledger says, and playbook has heard of it."""
    known = {one.touch_id: one for one in history.touches}
    ledger = _grouped((one.touch_id, one) for one in history.deliveries)
    asked = {touch for kind, touch in log.about_touch if kind == REQUESTED}
    messages = Counter([one.delivery_id for one in history.slack] + [one.delivery_id for one in history.mails])
    wanted = {(one.account_id, playbook) for one in history.expected for playbook in one.told_by}
    for name in sorted(known.keys() | ledger.keys() | asked):
        touch, rows = known.get(name), ledger.get(name, [])
        if touch is None:
            where = "has it in its ledger" if rows else "was asked for it"
            yield Finding(Kind.GHOST, name, f"touch {name} is unknown to playbook, yet notify {where}")
            continue
        what = f"touch {name} ({touch.playbook} for {touch.account_id} by {touch.channel})"
        if log.is_read and name not in asked:
            where = "yet notify has it in its ledger" if rows else "so notify never heard of it"
            yield Finding(Kind.LOST, name, f"{what} is not on the log, {where}")
        elif not rows:
            seen = messages[str(delivery_id(history.workspace, name))]
            yield Finding(Kind.LOST, name, f"{what} is not in notify's ledger, and {_times(seen)} in the inbox")
        elif len(rows) > 1:
            yield Finding(Kind.DOUBLED, name, f"{what} is {len(rows)} deliveries in notify's ledger")
        if len(rows) == 1:
            told = Kind.NOT_TOLD if (touch.account_id, touch.playbook) in wanted else None
            yield from _told(history, what, rows[0], told)
            yield from _reported(touch, what, rows[0], log)
    for (run, step), twins in sorted(
        _grouped(((one.run_id, one.step), one.touch_id) for one in known.values()).items()
    ):
        if len(twins) > 1:
            words = f"step {step} of run {run} asked for {len(twins)} touches: {', '.join(sorted(twins))}"
            yield Finding(Kind.DOUBLED, run, words)


def _told(history: History, what: str, row: Delivery, not_told: Kind | None) -> Iterator[Finding]:
    """What the inbox shows of a delivery against what the ledger says of it."""
    slack = [one for one in history.slack if one.delivery_id == row.delivery_id]
    mails = [one for one in history.mails if one.delivery_id == row.delivery_id]
    by_webhook = history.webhook_unknown is not None
    subject, seen = row.touch_id, len(slack) + len(mails)
    told = len(slack) + len({one.message_id for one in mails})
    tolerated = 1 + (row.doubtful if by_webhook and row.channel == "slack" else 0)
    says = f"the ledger says {row.state}" + (f" ({row.reason})" if row.reason else "")
    says += f" of delivery {row.delivery_id}, {row.doubtful} doubtful"
    if told > tolerated:
        words = f"{what} was told {_times(told)}; {says}"
        yield Finding(Kind.TOLD_TWICE, subject, words)
    elif row.state == "sent" and not seen:
        yield Finding(Kind.LEDGER_DIFFERS_FROM_INBOX, subject, f"{what} is not in the inbox; {says}")
    elif row.state == "sent" and seen > 1 + row.doubtful:
        words = f"{what} is in the inbox {_times(seen)} under one id; {says}"
        yield Finding(Kind.LEDGER_DIFFERS_FROM_INBOX, subject, words)
    elif row.state in ("failed", "suppressed") and seen > row.doubtful:
        yield Finding(Kind.LEDGER_DIFFERS_FROM_INBOX, subject, f"{what} is in the inbox {_times(seen)}; {says}")
    elif row.state in ("failed", "suppressed") and not seen and not_told:
        missed_by_policy = by_webhook and row.doubtful and history.webhook_unknown == "prefer_miss"
        if not missed_by_policy and row.reason != "cancelled":
            yield Finding(not_told, subject, f"{what} was told nobody; {says}")
    if row.state not in RESULT_OF:
        yield Finding(Kind.STUCK, subject, f"{what} is not settled; {says}, after {row.attempt} attempts")


def _reported(touch: Touch, what: str, row: Delivery, log: _Log) -> Iterator[Finding]:
    """The result of a settled delivery on its way back to playbook."""
    if row.state not in RESULT_OF:
        return
    results = {one.event_id for kind in RESULT_OF.values() for one in log.about_touch.get((kind, touch.touch_id), [])}
    right = log.about_touch.get((RESULT_OF[row.state], touch.touch_id), [])
    if log.is_read and not right:
        yield Finding(Kind.LOST, touch.touch_id, f"{what} is {row.state}, and the log has no result that says so")
    elif len(results) > 1:
        words = f"{what} has {len(results)} different results on the log: {', '.join(sorted(results))}"
        yield Finding(Kind.DOUBLED, touch.touch_id, words)
    elif touch.state != TOUCH_STATE_OF[row.state]:
        yield Finding(Kind.LOST, touch.touch_id, f"{what} is {row.state}, and playbook still says {touch.state}")


def _strangers(history: History) -> Iterator[Finding]:
    """Messages that belong to no touch at all."""
    known = {one.delivery_id for one in history.deliveries}
    known |= {str(delivery_id(history.workspace, one.touch_id)) for one in history.touches}
    for message in sorted(history.slack, key=lambda one: (one.channel, one.ts)):
        if message.delivery_id not in known:
            words = f"Slack shows a message ({message.channel} {message.ts}) that nobody asked for"
            yield Finding(Kind.GHOST, message.ts, words)
    for mail in sorted({one.message_id: one for one in history.mails}.values(), key=lambda one: one.message_id):
        if mail.delivery_id not in known:
            words = f"the inbox has a mail {mail.message_id} to {mail.recipient} that nobody asked for"
            yield Finding(Kind.GHOST, mail.message_id, words)


def _told_as_expected(history: History) -> Iterator[Finding]:
    """Playbook asked as often as the load gives reason to, not counting what it took back."""
    cancelled = {one.touch_id for one in history.deliveries if one.reason == "cancelled"}
    wanted = Counter((one.account_id, playbook) for one in history.expected for playbook in one.told_by)
    owed = _grouped(
        ((one.account_id, one.playbook), (one.run_id, one.step))
        for one in history.touches
        if one.state != "cancelled" and one.touch_id not in cancelled
    )
    for account, playbook in sorted(wanted.keys() | owed.keys()):
        asked, due = len(set(owed.get((account, playbook), []))), wanted[account, playbook]
        words = f"{playbook} must tell of account {account} {_times(due)}, and asked {_times(asked)}"
        if asked < due:
            yield Finding(Kind.NOT_TOLD, account, words)
        elif asked > due:
            yield Finding(Kind.TOLD_TWICE if due else Kind.GHOST, account, words)


# --- order, letters, time ----------------------------------------------------------------------------------------


def _order(history: History, log: _Log) -> Iterator[Finding]:
    """What has one key is in one partition; by their first appearance there, a user's events stand in the order in
    which they were sent, and versions rise."""
    partitions = _grouped(((topic, key), one.partition) for (topic, key, _), them in log.by_key.items() for one in them)
    for (topic, key), found in sorted(partitions.items()):
        if len(set(found)) > 1:
            words = f"key {key} of {topic} is in partitions {', '.join(map(str, sorted(set(found))))}"
            yield Finding(Kind.REORDERED, key, words)
    for user, events in sorted(_grouped((one.user_id, one) for one in history.sent).items()):
        wrong = [
            f"{later.sequence} before {earlier.sequence}"
            for earlier, later in pairwise(sorted(events, key=lambda one: one.sequence))
            if earlier.acknowledged_at is not None
            and earlier.acknowledged_at <= later.first_sent_at
            and _stands_before(log, later, earlier)
        ]
        if wrong:
            yield Finding(Kind.REORDERED, user, f"events of {user} are on the log in another order: {', '.join(wrong)}")
    for (topic, key, _), records in sorted(log.by_key.items()):
        first: dict[int, LogRecord] = {}
        for record in records:
            if record.sequence is not None:
                first.setdefault(record.sequence, record)
        wrong = [f"{a} before {b}" for a, b in pairwise(first) if a > b]
        if wrong:
            yield Finding(Kind.REORDERED, key, f"versions of {key} are on {topic} in another order: {', '.join(wrong)}")


def _stands_before(log: _Log, one: Sent, other: Sent) -> bool:
    places = [log.by_event.get((TELEMETRY, event.message_id)) for event in (one, other)]
    if not places[0] or not places[1]:
        return False
    first, second = places[0][0], places[1][0]
    return (first.topic, first.partition) == (second.topic, second.partition) and first.offset < second.offset


def _letters(history: History) -> Iterator[Finding]:
    for letter in sorted(history.letters, key=lambda one: (one.service, one.letter_id)):
        words = f"{letter.service} refused a record of {letter.topic} ({letter.reason}), letter {letter.letter_id}"
        yield Finding(Kind.DEAD_LETTERS, letter.letter_id, words)


def _stuck(history: History) -> Iterator[Finding]:
    for waiting in sorted(history.waiting, key=lambda one: one.what):
        yield Finding(Kind.STUCK, waiting.what, f"{waiting.what}: {waiting.count} at the end")
    seconds = history.seconds_to_recover
    if seconds is None and not history.waiting:
        yield Finding(Kind.STUCK, "through_at", "not everything came through, and nothing says what was waiting")
    if seconds is not None and seconds > RECOVERY_SECONDS:
        words = f"it took {seconds:.0f} s from the end of the last fault until everything was through"
        yield Finding(Kind.STUCK, "through_at", words)
