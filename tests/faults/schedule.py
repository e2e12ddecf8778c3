"""Faults, as values with a line each, and random schedules of them: the same seed gives the same schedule.

A line can be printed, read back and run again: ``7.5 freeze service=health member=1 seconds=4.0``. The town injects
a fault from its start to its end (``town.inject(fault)``); after that, everything it touched is there and well again.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, get_args

LENGTH_SECONDS = 14.0
"""Of the load, and of every schedule: each fault ends within it."""
FEWEST, MOST = 4, 7
"""Faults of a schedule."""
START_SECONDS = 2.0
"""Left to a process between two faults of its service, so that faults meet work and not only starts."""
MEMBERS = 2
"""Processes of every service, numbered from 0."""
SERVICES = ("ingest", "health", "playbook", "notify")

CONSUMING = (
    "consumer.before_transaction",
    "consumer.inside_handler",
    "consumer.before_commit",
    "consumer.after_commit",
)
PUBLISHING = ("outbox.published", "outbox.deleted")
POINTS: dict[str, tuple[str, ...]] = {
    "ingest": ("ingest.appended",),
    "health": (
        *CONSUMING,
        *PUBLISHING,
        "router.taken",
        "router.before_commit",
        "router.after_commit",
        "score_worker.claimed",
        "score_worker.before_commit",
        "score_worker.after_commit",
    ),
    "playbook": (*CONSUMING, *PUBLISHING, "playbook.step.before_commit", "playbook.step.after_commit"),
    "notify": (
        *CONSUMING,
        *PUBLISHING,
        "notify.before_sending_commit",
        "notify.sending_committed",
        "notify.connected",
        "notify.answered",
        "notify.recorded",
    ),
}
"""Failpoints that every service passes under load."""


class Engine(StrEnum):
    POSTGRES = "postgres"
    KAFKA = "kafka"


class SlackTrouble(StrEnum):
    """What happens to the next posts. ``drop_after`` accepts the message and cuts the connection without an answer."""

    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"


class SmtpTrouble(StrEnum):
    """What happens to the next mails, at DATA. ``drop_after`` accepts the mail and cuts the connection."""

    SMTP_REPLY = "smtp_reply"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"


# --- the faults --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _At:
    """``at``: seconds after the load began. Two faults of one ``target`` never overlap in a schedule."""

    word: ClassVar[str]
    at: float

    @property
    def target(self) -> str:
        raise NotImplementedError

    @property
    def lasts_seconds(self) -> float:
        """At most so long, without the start of a process that follows."""
        return 0.0

    def __str__(self) -> str:
        fields = dataclasses.asdict(self)
        return " ".join([str(fields.pop("at")), self.word, *(f"{name}={value}" for name, value in fields.items())])


@dataclass(frozen=True, kw_only=True)
class OfService(_At):
    service: str

    @property
    def target(self) -> str:
        return self.service


@dataclass(frozen=True, kw_only=True)
class Kill(OfService):
    """kill -9 of one process, which is started again at once."""

    word = "kill"
    member: int


@dataclass(frozen=True, kw_only=True)
class KillBoth(OfService):
    """kill -9 of all processes of a service together, started again after ``seconds``."""

    word = "kill-both"
    seconds: float

    @property
    def lasts_seconds(self) -> float:
        return self.seconds


@dataclass(frozen=True, kw_only=True)
class Restart(OfService):
    """SIGTERM, until it has ended; then it is started again."""

    word = "restart"
    member: int


@dataclass(frozen=True, kw_only=True)
class RestartBoth(OfService):
    """SIGTERM to all processes of a service together, then started again."""

    word = "restart-both"


@dataclass(frozen=True, kw_only=True)
class Freeze(OfService):
    """SIGSTOP of one process wherever it is, SIGCONT after ``seconds``; 3 s cost it its sessions."""

    word = "freeze"
    member: int
    seconds: float

    @property
    def lasts_seconds(self) -> float:
        return self.seconds


@dataclass(frozen=True, kw_only=True)
class KillAt(OfService):
    """One process is started anew with the failpoint armed (KIZASHI_FAILPOINTS=point:nth) and killed there, then
    started again without. One that does not come there within ``within_seconds`` is started again all the same."""

    word = "kill-at"
    member: int
    point: str
    nth: int
    within_seconds: float = 5.0

    @property
    def lasts_seconds(self) -> float:
        return self.within_seconds


@dataclass(frozen=True, kw_only=True)
class FreezeAt(OfService):
    """As KillAt, but it freezes there and is continued after ``seconds``; it then goes on living."""

    word = "freeze-at"
    member: int
    point: str
    nth: int
    seconds: float
    within_seconds: float = 5.0

    @property
    def lasts_seconds(self) -> float:
        return self.within_seconds + self.seconds


@dataclass(frozen=True, kw_only=True)
class _OfDependency(_At):
    seconds: float

    @property
    def lasts_seconds(self) -> float:
        return self.seconds


@dataclass(frozen=True, kw_only=True)
class KillBroker(_OfDependency):
    """kill -9 of the broker, started again on the same data after ``seconds``. Kafka only."""

    word = "kill-broker"
    target = "broker"


@dataclass(frozen=True, kw_only=True)
class FreezeBroker(_OfDependency):
    """SIGSTOP of the broker, SIGCONT after ``seconds``. Kafka only."""

    word = "freeze-broker"
    target = "broker"


@dataclass(frozen=True, kw_only=True)
class KillDatabase(_OfDependency):
    """kill -9 of PostgreSQL with all its processes, started again on the same data after ``seconds``."""

    word = "kill-database"
    target = "database"


@dataclass(frozen=True, kw_only=True)
class CutDatabase(_OfDependency):
    """Every connection to PostgreSQL is ended, again and again for ``seconds``."""

    word = "cut-database"
    target = "database"


@dataclass(frozen=True, kw_only=True)
class Slack(_At):
    """The next ``times`` posts fail in this way."""

    word = "slack"
    target = "slack"
    trouble: SlackTrouble
    times: int


@dataclass(frozen=True, kw_only=True)
class Smtp(_At):
    """The next ``times`` mails fail in this way."""

    word = "smtp"
    target = "smtp"
    trouble: SmtpTrouble
    times: int


Fault = (
    Kill
    | KillBoth
    | Restart
    | RestartBoth
    | Freeze
    | KillAt
    | FreezeAt
    | KillBroker
    | FreezeBroker
    | KillDatabase
    | CutDatabase
    | Slack
    | Smtp
)
KINDS: tuple[type[Fault], ...] = get_args(Fault)
ONLY_KAFKA: frozenset[type[Fault]] = frozenset({KillBroker, FreezeBroker})
_BY_WORD = {kind.word: kind for kind in KINDS}
_READ: dict[str, Callable[[str], Any]] = {
    "float": float,
    "int": int,
    "str": str,
    "SlackTrouble": SlackTrouble,
    "SmtpTrouble": SmtpTrouble,
}


def kinds_on(engine: Engine) -> tuple[type[Fault], ...]:
    """The kinds of faults that there can be on an engine: with the embedded log, PostgreSQL is the broker."""
    return tuple(kind for kind in KINDS if engine is Engine.KAFKA or kind not in ONLY_KAFKA)


def parse(line: str) -> Fault:
    """The fault that such a line stands for. Raises ValueError naming what is wrong."""
    at, word, *given = line.split()
    if word not in _BY_WORD:
        raise ValueError(f"{word!r} is no fault; there are {', '.join(sorted(_BY_WORD))}")
    kind = _BY_WORD[word]
    types = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {"at": float(at)}
    for one in given:
        name, is_there, value = one.partition("=")
        if not is_there or name not in types:
            raise ValueError(f"{one!r} does not belong to {word}; it has {', '.join(types)}")
        values[name] = _READ[types[name]](value)
    try:
        return kind(**values)
    except TypeError as exc:
        raise ValueError(f"{line!r} is not whole: {exc}") from exc


# --- schedules ---------------------------------------------------------------------------------------------------


def schedule(seed: int, engine: Engine) -> tuple[Fault, ...]:
    """The faults of a run, earliest first: several at a time, but one at a time for each target."""
    luck = random.Random(f"{engine} {seed}")
    kinds = kinds_on(engine)
    weights = [3 if kind in (KillAt, FreezeAt) else 1 for kind in kinds]  # they have many places to happen at
    faults: list[Fault] = []
    free_from: dict[str, float] = {}
    wanted = luck.randint(FEWEST, MOST)
    for at in sorted(luck.uniform(0.5, LENGTH_SECONDS - 1) for _ in range(3 * MOST)):
        fault = _some(luck, luck.choices(kinds, weights)[0], round(at, 1))
        ends = fault.at + fault.lasts_seconds
        if len(faults) < wanted and free_from.get(fault.target, 0.0) <= fault.at and ends <= LENGTH_SECONDS:
            faults.append(fault)
            free_from[fault.target] = ends + START_SECONDS
    return tuple(faults)


def lines(faults: Iterable[Fault]) -> str:
    return "\n".join(map(str, faults))


def _some(luck: random.Random, kind: type[Fault], at: float) -> Fault:
    """A fault of this kind, the rest left to luck."""
    return kind(at=at, **{name: draw(luck) for name, draw in _DRAWS[kind].items()}, **_place(luck, kind))


def _place(luck: random.Random, kind: type[Fault]) -> dict[str, Any]:
    """Where it happens: nowhere in particular, in a service, or at a failpoint of one."""
    names = {field.name for field in dataclasses.fields(kind)}
    place: dict[str, Any] = {}
    if "service" in names:
        place["service"] = luck.choice(sorted(POINTS) if "point" in names else SERVICES)
    if "point" in names:
        place["point"] = luck.choice(POINTS[place["service"]])
    return place


def _between(least: float, most: float) -> Callable[[random.Random], float]:
    return lambda luck: round(luck.uniform(least, most), 1)


def _member(luck: random.Random) -> int:
    return luck.randrange(MEMBERS)


def _up_to_three(luck: random.Random) -> int:
    return luck.randint(1, 3)


_DRAWS: dict[type[Fault], dict[str, Callable[[random.Random], Any]]] = {
    Kill: {"member": _member},
    KillBoth: {"seconds": _between(0.0, 3.0)},
    Restart: {"member": _member},
    RestartBoth: {},
    Freeze: {"member": _member, "seconds": _between(0.5, 7.0)},
    KillAt: {"member": _member, "nth": _up_to_three},
    FreezeAt: {"member": _member, "nth": _up_to_three, "seconds": _between(0.5, 7.0)},
    KillBroker: {"seconds": _between(0.0, 3.0)},
    FreezeBroker: {"seconds": _between(1.0, 8.0)},
    KillDatabase: {"seconds": _between(0.0, 3.0)},
    CutDatabase: {"seconds": _between(0.0, 3.0)},
    Slack: {"trouble": lambda luck: luck.choice(list(SlackTrouble)), "times": _up_to_three},
    Smtp: {"trouble": lambda luck: luck.choice(list(SmtpTrouble)), "times": _up_to_three},
}
