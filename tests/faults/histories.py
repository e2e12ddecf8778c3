"""A made-up history in which every promise was kept, though processes died on the way: for testing the checker."""

from __future__ import annotations

from dataclasses import replace

from libs.common.topics import partition_of
from services.notify.domain.delivery import delivery_id
from tests.faults.history import (
    Account,
    Counted,
    Delivery,
    Expected,
    FaultMoment,
    History,
    LogRecord,
    Mail,
    Sent,
    SlackMessage,
    Touch,
    Waiting,
)

WORKSPACE = 3
WORKING, TOLD, EVENTS = 5, 6, 4
"""Accounts that work, accounts of which somebody is told, and events of each user of the former."""
UNHEARD = ("working-0/2", "working-1/2")
"""Events whose sender never heard an answer: the first is on the log and counts, the second is not and does not."""


def clean() -> History:
    """Every second story is told in Slack, every other by mail. Some events are on the log twice, one mail came twice
    under its id, and every record of ``health`` was published again after a crash."""
    sent = (*_work(), *_stories())
    on_log = [one for one in sent if one.message_id != UNHEARD[1]]
    touches = tuple(_touch(n) for n in range(TOLD))
    deliveries = tuple(_delivery(touch, n) for n, touch in enumerate(touches))
    log = _Log()
    for one in [*on_log, *on_log[::3]]:
        log.add("telemetry", f"{WORKSPACE}:{one.user_id}", "telemetry.received.v1", one.message_id)
    for _again in range(2):
        for account in _accounts():
            key = f"{WORKSPACE}:{account.account_id}"
            for version in range(1, account.version + 1):
                id_ = f"{account.account_id} v{version}"
                log.add("health", key, "health.account_changed.v1", id_, sequence=version)
            for n in range(account.findings):
                log.add("health", key, "health.band_changed.v1", f"{account.account_id} finding {n}")
    for touch in touches:
        key = f"{WORKSPACE}:{touch.account_id}"
        log.add("touches", key, "playbook.touch_requested.v1", touch.touch_id, touch_id=touch.touch_id)
        result = f"result of {touch.touch_id}"
        log.add("deliveries", key, "notify.touch_delivered.v1", result, touch_id=touch.touch_id)
    for partition in range(12):
        log.append(
            LogRecord(
                topic="telemetry",
                partition=partition,
                offset=0,
                key=f"{WORKSPACE}:source:1",
                type="telemetry.source_went_live.v1",
                event_id=f"live {partition}",
            )
        )
    mails = [_mail(one) for one in deliveries if one.channel == "email"]
    return History(
        engine="postgres",
        workspace=WORKSPACE,
        seed=1,
        sent=sent,
        expected=(
            *(Expected(account_id=f"working-{n}", band="green") for n in range(WORKING)),
            *(Expected(account_id=f"told-{n}", band="red", told_by=("usage-decline",)) for n in range(TOLD)),
        ),
        accounts=_accounts(),
        counted=tuple(Counted(account_id=one.account_id, event=one.event, count=1) for one in on_log),
        usage_total=len(on_log),
        touches=touches,
        deliveries=deliveries,
        slack=tuple(_slack(one, n) for n, one in enumerate(deliveries) if one.channel == "slack"),
        mails=(*mails, mails[0]),
        log=tuple(log.records),
        letters=(),
        waiting=(),
        faults=(FaultMoment(fault="3.0 kill service=health member=0", at=3.0, over_at=22.0),),
        load_ended_at=20.0,
        through_at=27.5,
    )


def waiting_forever(history: History) -> History:
    return replace(history, through_at=None, waiting=(Waiting(what="outbox of health", count=3),))


def _work() -> list[Sent]:
    return [
        Sent(
            message_id=f"working-{n}/{sequence}",
            account_id=f"working-{n}",
            user_id=f"user of working-{n}",
            sequence=sequence,
            event=f"Used {sequence}",
            first_sent_at=sequence,
            acknowledged_at=None if f"working-{n}/{sequence}" in UNHEARD else sequence + 0.5,
        )
        for n in range(WORKING)
        for sequence in range(EVENTS)
    ]


def _stories() -> list[Sent]:
    return [
        Sent(
            message_id=f"told-{n}/0",
            account_id=f"told-{n}",
            user_id=f"user of told-{n}",
            sequence=0,
            event="Ticket Opened",
            first_sent_at=5.0 + n,
            acknowledged_at=5.1 + n,
        )
        for n in range(TOLD)
    ]


def _accounts() -> tuple[Account, ...]:
    return (
        *(Account(account_id=f"working-{n}", version=1 + n % 3, band="green", findings=0) for n in range(WORKING)),
        *(Account(account_id=f"told-{n}", version=2, band="red", findings=1) for n in range(TOLD)),
    )


def _touch(n: int) -> Touch:
    return Touch(
        touch_id=f"touch-{n}",
        run_id=f"run-{n}",
        account_id=f"told-{n}",
        playbook="usage-decline",
        step=0,
        channel="email" if n % 2 else "slack",
        state="delivered",
    )


def _delivery(touch: Touch, n: int) -> Delivery:
    """The first mail was sent twice under its id, which the ledger knows."""
    return Delivery(
        delivery_id=str(delivery_id(WORKSPACE, touch.touch_id)),
        touch_id=touch.touch_id,
        account_id=touch.account_id,
        channel=touch.channel,
        state="sent",
        reason=None,
        attempt=2 if n == 1 else 1,
        doubtful=1 if n == 1 else 0,
    )


def _slack(delivery: Delivery, n: int) -> SlackMessage:
    return SlackMessage(channel="#cs", ts=f"1700000000.{n:06d}", via="bot_token", delivery_id=delivery.delivery_id)


def _mail(delivery: Delivery) -> Mail:
    return Mail(message_id=f"<{delivery.delivery_id}@example.com>", recipient=f"{delivery.account_id}@example.com")


class _Log:
    """Gives out partitions by key and offsets in order, with a hole before each record."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self._ends: dict[tuple[str, int], int] = {}

    def append(self, record: LogRecord) -> None:
        place = (record.topic, record.partition)
        self._ends[place] = self._ends.get(place, 0) + 2
        self.records.append(replace(record, offset=self._ends[place]))

    def add(
        self, topic: str, key: str, kind: str, id_: str, *, sequence: int | None = None, touch_id: str | None = None
    ) -> None:
        partition = partition_of(key.encode())
        self.append(
            LogRecord(
                topic=topic,
                partition=partition,
                offset=0,
                key=key,
                type=kind,
                event_id=id_,
                sequence=sequence,
                touch_id=touch_id,
            )
        )
