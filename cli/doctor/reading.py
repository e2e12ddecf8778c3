"""How each service stands to the event log: its own log or another, how late, what is stopped, what waits beside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cli.doctor.findings import Finding, ok, problem, warning
from cli.doctor.schemas import as_role, reader_of
from cli.printing import age, counted
from libs.common.db import text
from libs.common.event_log import Places
from libs.common.log_view import PartitionView, look
from libs.common.topics import READERS, Topic

LATE_SECONDS, TOO_LATE_SECONDS = 60.0, 3600.0
STOPS_SHOWN = 3
GROUPS: Mapping[str, Sequence[Topic]] = {
    group: [topic for topic, reader in READERS.items() if reader == group] for group in dict.fromkeys(READERS.values())
}


@dataclass(frozen=True)
class Backlog:
    """``events`` wait in the outbox, the oldest for ``seconds``; ``letters`` are dead and were not given back."""

    events: int
    seconds: float
    letters: int


@dataclass(frozen=True)
class Standing:
    """Of one group; ``identities`` name the log that is there."""

    group: str
    identities: Mapping[Topic, str]
    partitions: Sequence[PartitionView]


async def ask_standing(url: str, places: Places, group: str) -> Standing:
    """Raises NotStarted, RetryLater."""
    topics = GROUPS[group]
    async with as_role(url, reader_of(group), group) as database:
        identities = {topic: await places.identity(topic) for topic in topics}
        return Standing(group, identities, await look(database, places, group, topics))


async def ask_backlog(url: str, group: str) -> Backlog:
    """Raises NotStarted, RetryLater."""
    async with as_role(url, reader_of(group), group) as database, database.transaction() as connection:
        row = (
            await connection.execute(
                text(
                    "SELECT (SELECT count(*) FROM outbox) AS events, "
                    "(SELECT CAST(extract(epoch FROM now() - min(created_at)) AS float8) FROM outbox) AS seconds, "
                    "(SELECT count(*) FROM dead_letter WHERE replayed_at IS NULL) AS letters"
                )
            )
        ).one()
    return Backlog(row.events, row.seconds or 0.0, row.letters)


def judge_standing(standing: Standing) -> Iterator[Finding]:
    strangers = [
        one
        for one in standing.partitions
        if one.log_identity is not None and one.log_identity != standing.identities[one.topic]
    ]
    ours = [one for one in standing.partitions if one not in strangers]
    yield from _judge_identity(standing, strangers)
    yield from _judge_stops(standing.group, ours)
    if ours:
        yield _judge_lag(standing.group, ours)


def _judge_identity(standing: Standing, strangers: Sequence[PartitionView]) -> Iterator[Finding]:
    for topic in sorted({one.topic for one in strangers}):
        [read, *_] = sorted({str(one.log_identity) for one in strangers if one.topic == topic})
        yield problem(
            "another_log",
            f"{standing.group} has read {topic} of the event log {read}, but this one is {standing.identities[topic]}.",
            "Connect the old log again by KIZASHI_LOG_URL. `kizashi log move` takes everything from there to this one; "
            "if the old one is gone for good, `kizashi log adopt` goes on without it.",
            about=standing.group,
        )


def _judge_stops(group: str, partitions: Sequence[PartitionView]) -> Iterator[Finding]:
    stopped = [one.stopped for one in partitions if one.stopped]
    for stop in stopped[:STOPS_SHOWN]:
        yield problem(f"stopped_{stop.cause.value}", f"{group}: {stop.why}", stop.way_out, about=group)
    if (more := len(stopped) - STOPS_SHOWN) > 0:
        yield problem(
            "stopped_more",
            f"{group} has stopped in {more} more.",
            "`kizashi log status` shows all of them.",
            about=group,
        )


def _judge_lag(group: str, partitions: Sequence[PartitionView]) -> Finding:
    records = sum(one.lag_records for one in partitions)
    seconds = max(one.lag_seconds for one in partitions)
    if seconds < LATE_SECONDS:
        read = f"all but {counted(records, 'new record')}" if records else "everything"
        return ok("lag", f"{group} has read {read}.", about=group)
    sentence = f"{group} is {counted(records, 'record')} behind; the oldest has waited for {age(seconds)}."
    remedy = f"See whether {group} runs and is ready; `kizashi log status` shows where it is late."
    judged = problem if seconds >= TOO_LATE_SECONDS else warning
    return judged("lag", sentence, remedy, about=group)


def judge_backlog(group: str, backlog: Backlog) -> Iterator[Finding]:
    if backlog.seconds >= LATE_SECONDS:
        sentence = (
            f"{counted(backlog.events, 'event')} of {group} did not come into the log yet; the oldest has waited for "
            f"{age(backlog.seconds)}."
        )
        remedy = f"See whether {group} runs and the log answers; they are published by themselves then."
        judged = problem if backlog.seconds >= TOO_LATE_SECONDS else warning
        yield judged("outbox", sentence, remedy, about=group)
    if backlog.letters:
        yield warning(
            "dead_letters",
            f"{group} has refused what is kept as {counted(backlog.letters, 'dead letter')}.",
            "`kizashi dlq list` says why; `kizashi dlq replay ID` gives one back once the cause is mended.",
            about=group,
        )
