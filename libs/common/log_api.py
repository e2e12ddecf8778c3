"""The event log over HTTP, as one consumer group reads it: how far, how late, what is stopped, and the way out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from libs.common.api_keys import Principal, Scope
from libs.common.db import AsyncConnection, Database, text
from libs.common.errors import Refused, RetryLater
from libs.common.event_log import EventLog, TopicPartition
from libs.common.log_view import Borders, PartitionView, Position, look, positions_of
from libs.common.observability import get_logger
from libs.common.topics import PARTITIONS, Topic
from libs.common.web import caller

logger = get_logger(__name__)

MOVES_SHOWN = 20


class MoveView(BaseModel):
    """A position that somebody moved; ``moved_by`` is the public id of an API key, or a command that needs none."""

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
            partitions = await look(database, log, group, topics)
            identities = {topic: await log.identity(topic) for topic in topics}
        return LogView(
            group=group,
            identities=identities,
            partitions=partitions,
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
        borders = Borders(earliest[source], ends[source])
        async with database.transaction() as connection:
            row = (await positions_of(connection, [source.topic], only=source.partition)).get(source)
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


def _target(wanted: Skip, row: Position, borders: Borders, identity: str) -> int:
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


async def _move(connection: AsyncConnection, source: TopicPartition, row: Position, target: int, key_id: str) -> None:
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
