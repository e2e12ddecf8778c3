"""What one run under faults left behind: what was sent, and what each place showed once everything was through.

The recorder fills it, the checker judges it, and nothing else passes between them. Times are seconds since the run
began, on one monotonic clock. Every tuple is in any order; the checker sorts. It travels as JSON, so that a run can be
judged again without being run again.

A place is asked once, at the end, when nothing waits any more or patience has ended (``through_at`` is None then).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One call that the load made, those of its preparation ($identify, $group, history) included.

    ``event`` is the name under which health counts it: that of a track call, else ``$identify``, ``$group`` …
    Names unique per event make every single one visible in `GET /v1/accounts/{id}/usage`; events that share account
    and name are judged by their sum. A call that is repeated under its id after a lost answer is one Sent:
    ``first_sent_at`` is its first attempt, the same for all of a request, ``acknowledged_at`` its first 200, None when
    none ever came. Order is judged between events of a user of which the later was first sent after the earlier was
    acknowledged, or which came in one request.
    """

    message_id: str
    account_id: str
    user_id: str
    sequence: int
    event: str
    first_sent_at: float
    acknowledged_at: float | None


@dataclass(frozen=True, kw_only=True)
class Counted:
    """How often health counted an event name for an account, over all days: from ``/v1/accounts/{id}/usage``."""

    account_id: str
    event: str
    count: int


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What must become of an account, and nothing else may. Accounts that are not named must be told nothing.

    ``band`` is the one it must end in, None when it does not matter. ``told_by`` names a playbook as often as a touch
    of it must be told: ("usage-decline",) is one alert.
    """

    account_id: str
    band: str | None = None
    told_by: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Account:
    """``version`` and ``band`` from health's ``/v1/accounts/{id}/health``; ``findings`` is the number of entries of
    kind ``finding`` on playbook's timeline of it, 0 when playbook does not know it."""

    account_id: str
    version: int
    band: str | None
    findings: int


@dataclass(frozen=True, kw_only=True)
class Touch:
    """A touch as playbook's ``/v1/runs`` shows it. ``state`` is playbook's: requested, cancelled, delivered …"""

    touch_id: str
    run_id: str
    account_id: str
    playbook: str
    step: int
    channel: str
    state: str


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A row of notify's ledger, from ``/v1/deliveries``."""

    delivery_id: str
    touch_id: str
    account_id: str
    channel: str
    state: str
    reason: str | None
    attempt: int
    doubtful: int


@dataclass(frozen=True, kw_only=True)
class SlackMessage:
    """A message that can be seen in the inbox. ``via`` is ``bot_token`` or ``incoming_webhook``.

    ``delivery_id`` is in the metadata (``event_payload``) of what a bot posts. A webhook carries none: then it is that
    of the delivery whose account the text names (so the load names accounts that no other name contains), or None.
    """

    channel: str
    ts: str
    via: str
    delivery_id: str | None


@dataclass(frozen=True, kw_only=True)
class Mail:
    """One copy of a mail in the inbox. ``message_id`` is its header, ``<delivery id@domain>``, as it stands."""

    message_id: str
    recipient: str

    @property
    def delivery_id(self) -> str:
        return self.message_id.strip("<> ").partition("@")[0]


@dataclass(frozen=True, kw_only=True)
class LogRecord:
    """A record of the event log, read through the EventLog port from the start of every topic.

    ``key`` is decoded; ``type`` is the wire type (``telemetry.received.v1``). ``sequence`` grows by one with each
    event of its key and type where the event says so: ``version`` of AccountChanged; else None. ``touch_id`` is what
    TouchRequested (its own id), TouchCancelled and the results are about, else None. Records of SourceWentLive and of
    the dead-letter topics are in it too; the checker knows which it needs.
    """

    topic: str
    partition: int
    offset: int
    key: str
    type: str
    event_id: str
    sequence: int | None = None
    touch_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """From ``/v1/dead-letters`` of ``service``, asked by a key with the scope of operators too."""

    service: str
    letter_id: str
    topic: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Something that had not gone its way at the end: ``what`` names it for people («lag of playbook on health/3»,
    «outbox of health», «dirty», «due», «requests»), ``count`` is how much of it, above 0. Deliveries that are not
    settled need not be here: the ledger shows them."""

    what: str
    count: int


@dataclass(frozen=True, kw_only=True)
class FaultMoment:
    """``fault`` is its one-line form (see schedule). ``over_at``: the process was started again or continued, the
    dependency answered again, the sink behaved again."""

    fault: str
    at: float
    over_at: float


@dataclass(frozen=True, kw_only=True)
class History:
    """``workspace`` is the number that its keys in ``log`` begin with; records of others may be there too. ``log`` is
    None when it was not read. ``usage_total`` is health's ``/v1/progress``. ``load_ended_at``: the last answer to the
    load. ``through_at``: nothing waited any more, None when that never came. ``webhook_unknown`` is the workspace's
    policy where an incoming webhook tells Slack, None where a bot does."""

    engine: str
    workspace: int
    seed: int | None
    sent: tuple[Sent, ...]
    expected: tuple[Expected, ...]
    accounts: tuple[Account, ...]
    counted: tuple[Counted, ...]
    usage_total: int
    touches: tuple[Touch, ...]
    deliveries: tuple[Delivery, ...]
    slack: tuple[SlackMessage, ...]
    mails: tuple[Mail, ...]
    log: tuple[LogRecord, ...] | None
    letters: tuple[DeadLetter, ...]
    waiting: tuple[Waiting, ...]
    faults: tuple[FaultMoment, ...]
    load_ended_at: float
    through_at: float | None
    webhook_unknown: str | None = None

    @property
    def settled_from(self) -> float:
        """From when on nothing hindered the work any more: the load was over, and so were all faults."""
        return max([self.load_ended_at, *(fault.over_at for fault in self.faults)])

    @property
    def seconds_to_recover(self) -> float | None:
        return None if self.through_at is None else max(0.0, self.through_at - self.settled_from)


def save(history: History, file: Path) -> None:
    file.write_bytes(msgspec.json.format(msgspec.json.encode(history), indent=1))


def load(file: Path) -> History:
    return msgspec.json.decode(file.read_bytes(), type=History)
