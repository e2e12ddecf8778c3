"""The event log over HTTP, as one consumer group reads it: how far, how late, what is stopped, and the way out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from libs.common import stops
from libs.common.api_keys import Principal, Scope
from libs.common.clock import wall_now
from libs.common.db import AsyncConnection, Database, text
from libs.common.errors import PositionLost, Refused, RetryLater
from libs.common.event_log import EventLog, TopicPartition
from libs.common.lag import Lag, lags
from libs.common.observability import get_logger
from libs.common.received import BREAKER_LIMIT
from libs.common.stops import Stop
from libs.common.topics import PARTITIONS, Topic
from libs.common.web import caller

logger = get_logger(__name__)

MOVES_SHOWN = 20


class StopView(BaseModel):
    """``cause``: lost (the log does not hold what must be read next) or breaker (too many records were refused in a
    row). ``why`` and ``way_out`` are sentences."""

    cause: stops.Cause
    why: str
    way_out: str


class PartitionView(BaseModel):
    """The log holds ``earliest`` up to, and not including, ``end``; ``position`` is what the group reads next, null
    while it has never read here. Lag in seconds is the age of the oldest record that waits. ``caught_up_to`` is domain
    time: everything accepted until then has been processed; null where nobody asks for that."""

    topic: Topic
    partition: int
    position: int | None
    earliest: int
    end: int
    lag_records: int
    lag_seconds: float
    caught_up_to: datetime | None
    stopped: StopView | None


class MoveView(BaseModel):
    """A position that somebody moved; ``moved_by`` is the public id of an API key."""

    topic: str
    partition: int
    moved_from: int
    moved_to: int
    moved_by: str
    moved_at: datetime


class LogView(BaseModel):
    """``identities`` name the log by topic. ``moves``: the newest ones."""

    group: str
    identities: dict[Topic, str]
    partitions: list[PartitionView]
    moves: list[MoveView]


class Skip(BaseModel):
    """``expected`` is the position as the caller knows it; ``force`` moves one from which nothing is lost."""

    topic: Topic
    partition: int = Field(ge=0, lt=PARTITIONS)
    to: Literal["earliest", "latest"] | int = Field(description="a position that the log holds, or its own name")
    expected: int
    force: bool = False


class Skipped(BaseModel):
    """``passed_over``: positions that are not read, and what they held is lost to the group. ``read_again``: positions
    that had been read; what they held has no second effect as long as its claims are remembered."""

    topic: Topic
    partition: int
    moved_from: int
    moved_to: int
    passed_over: int
    read_again: int


@dataclass(frozen=True)
class _Row:
    """What the group's database knows of a partition."""

    next: int
    refused_in_a_row: int
    lost: str | None
    log_identity: str
    caught_up_to: datetime | None


@dataclass(frozen=True)
class _Borders:
    earliest: int
    end: int

    def lost(self, source: TopicPartition, position: int) -> str | None:
        """Why nothing can be read from a position, if so."""
        if self.earliest <= position <= self.end:
            return None
        return str(PositionLost(source, position, self.earliest, self.end))


def routes(database: Database, log: EventLog, group: str, topics: Sequence[Topic]) -> APIRouter:
    """``/v1/log`` of one service: what ``kizashi log status | skip`` speaks to. For operators: it concerns every
    workspace."""
    router = APIRouter(prefix="/v1/log", tags=["event log"])
    operator: Any = caller(database, Scope.OPERATOR)

    @router.get("", summary="How far this service has read each partition, and what stands still")
    async def show_log(_who: Principal = operator) -> LogView:
        async with database.transaction() as connection:
            moves = await connection.execute(
                text(
                    "SELECT topic, partition, moved_from, moved_to, moved_by, moved_at FROM position_move "
                    f"ORDER BY id DESC LIMIT {MOVES_SHOWN}"
                )
            )
        with _log_answers():
            # Earliest first: what is read meanwhile may be dropped meanwhile. Ends last: nothing is read before it is
            # there.
            earliest = await log.starts(topics)
            async with database.transaction() as connection:
                rows = await _rows(connection, topics)
            ends = await log.ends(topics)
            positions = {source: rows[source].next if source in rows else earliest[source] for source in sorted(ends)}
            behind = await lags(log, positions, ends)
            identities = {topic: await log.identity(topic) for topic in topics}
        return LogView(
            group=group,
            identities=identities,
            partitions=[
                _view(group, source, rows.get(source), _Borders(earliest[source], ends[source]), behind[source])
                for source in positions
            ],
            moves=[MoveView(**move._mapping) for move in moves],
        )

    @router.post("/skip", summary="Move a position on purpose; what lies between is lost to this service")
    async def skip(wanted: Skip, who: Principal = operator) -> Skipped:
        source = TopicPartition(wanted.topic, wanted.partition)
        if source.topic not in topics:
            raise _unknown(group, source)
        with _log_answers():
            earliest, ends = await log.starts([source.topic]), await log.ends([source.topic])
            identity = await log.identity(source.topic)
        borders = _Borders(earliest[source], ends[source])
        async with database.transaction() as connection:
            row = (await _rows(connection, [source.topic], only=source.partition)).get(source)
            if row is None:
                raise _unknown(group, source)
            target = _target(wanted, row, borders, identity)
            await _move(connection, source, row, target, who.key_id)
        moved = Skipped(
            topic=source.topic,
            partition=source.partition,
            moved_from=row.next,
            moved_to=target,
            passed_over=max(target - row.next, 0),
            read_again=max(min(row.next, borders.end) - target, 0),
        )
        logger.warning("position_moved", group=group, key=who.key_id, forced=wanted.force, **moved.model_dump())
        return moved

    return router


def _view(group: str, source: TopicPartition, row: _Row | None, borders: _Borders, lag: Lag) -> PartitionView:
    stop = None if row is None else _stop(group, source, row, borders)
    return PartitionView(
        topic=source.topic,
        partition=source.partition,
        position=row and row.next,
        earliest=borders.earliest,
        end=borders.end,
        lag_records=lag.records,
        lag_seconds=round(lag.seconds(wall_now()), 3),
        caught_up_to=row and row.caught_up_to,
        stopped=stop and StopView(cause=stop.cause, why=stop.why, way_out=stop.way_out),
    )


def _stop(group: str, source: TopicPartition, row: _Row, borders: _Borders) -> Stop | None:
    """From what the database knows, so that every process of the group gives the same answer."""
    if why := row.lost or borders.lost(source, row.next):
        return stops.lost(group, source, why)
    if row.refused_in_a_row >= BREAKER_LIMIT and row.next < borders.end:
        return stops.broken(group, source)
    return None


async def _rows(
    connection: AsyncConnection, topics: Sequence[Topic], only: int | None = None
) -> Mapping[TopicPartition, _Row]:
    """Of the topics; with ``only`` that partition of them, locked."""
    found = await connection.execute(
        text(
            "SELECT topic, partition, next, refused_in_a_row, lost, log_identity, caught_up_to FROM consumer_position "
            "WHERE topic = ANY (CAST(:topics AS text[]))"
            + ("" if only is None else " AND partition = :only FOR UPDATE")
        ),
        {"topics": [topic.value for topic in topics], "only": only},
    )
    return {TopicPartition(Topic(topic), partition): _Row(*row) for topic, partition, *row in found}


def _target(wanted: Skip, row: _Row, borders: _Borders, identity: str) -> int:
    """The position to move to. Raises Refused."""
    place = f"{wanted.topic}/{wanted.partition}"
    if row.log_identity != identity:
        raise Refused(
            409,
            "another_log",
            f"The position of {place} belongs to the event log {row.log_identity}, and this one is {identity}.",
        )
    if row.next != wanted.expected:
        raise Refused(
            409,
            "position_moved",
            f"{place} is at {row.next} by now, not at {wanted.expected}; look again.",
            position=row.next,
        )
    if not wanted.force and row.lost is None and borders.earliest <= row.next <= borders.end:
        raise Refused(
            409,
            "nothing_lost",
            f"{place} can be read from {row.next}: nothing is lost there. What a move passes over is lost to this "
            "service; say that you force it.",
        )
    match wanted.to:
        case "earliest":
            return borders.earliest
        case "latest":
            return borders.end
        case position if borders.earliest <= position <= borders.end:
            return position
    raise Refused(
        409,
        "not_in_the_log",
        f"The log holds {borders.earliest} to {borders.end} of {place}, so nothing can be read from {wanted.to}.",
        earliest=borders.earliest,
        end=borders.end,
    )


async def _move(connection: AsyncConnection, source: TopicPartition, row: _Row, target: int, key_id: str) -> None:
    """The reader finds it at its next look. Records before the position say nothing about those after the new one, so
    the breaker counts from nothing."""
    place = {"topic": source.topic.value, "partition": source.partition, "origin": row.next, "target": target}
    await connection.execute(
        text(
            "UPDATE consumer_position SET next = :target, lost = NULL, refused_in_a_row = 0 "
            "WHERE topic = :topic AND partition = :partition AND next = :origin"
        ),
        place,
    )
    await connection.execute(
        text(
            "INSERT INTO position_move (topic, partition, log_identity, moved_from, moved_to, moved_by) "
            "VALUES (:topic, :partition, :identity, :origin, :target, :key)"
        ),
        {**place, "identity": row.log_identity, "key": key_id},
    )


def _unknown(group: str, source: TopicPartition) -> Refused:
    return Refused(404, "unknown_partition", f"{group} does not read {source.topic}/{source.partition}.")


@contextlib.contextmanager
def _log_answers() -> Iterator[None]:
    """An operator is told what does not answer."""
    try:
        yield
    except RetryLater as exc:
        raise Refused(503, "log_unavailable", f"The event log cannot be asked now: {exc}") from exc
