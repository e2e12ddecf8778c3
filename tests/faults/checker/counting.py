"""From the product to health's count: what was acknowledged, and what the log holds, counts once; nothing else does."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.checker.finding import Finding, Kind, times
from tests.faults.checker.recorded_log import TELEMETRY, RecordedLog, grouped, place
from tests.faults.history import History, Sent


def counting(history: History, log: RecordedLog) -> Iterator[Finding]:
    sent = grouped(((one.account_id, one.event), one) for one in history.sent)
    counted = {(one.account_id, one.event): one.count for one in history.counted}
    for key in sorted(sent.keys() | counted.keys()):
        if key in sent:
            yield from _one_name(sorted(sent[key], key=lambda one: one.message_id), counted.get(key, 0), log)
        else:
            account, event = key
            words = f"account {account} has «{event}» counted {times(counted[key])}, which nobody sent"
            yield Finding(Kind.GHOST, account, words)
    known = {one.message_id for one in history.sent}
    for (kind, message), records in sorted(log.by_event.items()):
        if kind == TELEMETRY and message not in known:
            yield Finding(
                Kind.GHOST, message, f"event {message} is on the log ({place(records[0])}), and nobody sent it"
            )
    shown = sum(one.count for one in history.counted)
    if history.usage_total > shown:
        words = f"{history.usage_total} events were applied, but the accounts together show only {shown}"
        yield Finding(Kind.LOST, "usage_total", words)
    if history.usage_total < shown:
        words = f"{history.usage_total} events were applied, but the accounts together show {shown}"
        yield Finding(Kind.DOUBLED, "usage_total", words)


def _one_name(events: list[Sent], counted: int, log: RecordedLog) -> Iterator[Finding]:
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
        where = ", ".join(place(records[0]) for records in logged if records)
        words = f"{what} was counted {times(counted)} instead of {times(certain)}; on the log: {where or 'not read'}"
        yield Finding(Kind.LOST, ids, words)
    elif counted > len(events):
        where = ", ".join(place(record) for records in logged for record in records) or "not read"
        words = f"{what} was sent {times(len(events))} and counted {times(counted)}; on the log: {where}"
        yield Finding(Kind.DOUBLED, ids, words)
    elif counted > possible:
        yield Finding(Kind.GHOST, ids, f"{what} was counted {times(counted)}, but is on the log {times(certain)}")


def _described(event: Sent) -> str:
    return f"event {event.message_id} («{event.event}» number {event.sequence} of {event.user_id}, {event.account_id})"
