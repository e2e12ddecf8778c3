"""How a consumer group stands to the event log: its position, its lag, what is stopped, and the way out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel

from libs.common import stops
from libs.common.clock import wall_now
from libs.common.db import AsyncConnection, Database, text
from libs.common.errors import PositionLost
from libs.common.event_log import Places, TopicPartition
from libs.common.lag import Lag, lags
from libs.common.received import BREAKER_LIMIT
from libs.common.stops import Stop
from libs.common.topics import Topic


class StopView(BaseModel):
    """``cause``: lost (the log does not hold what must be read next) or breaker (too many records were refused in a
    row). ``why`` and ``way_out`` are sentences."""

    cause: stops.Cause
    why: str
    way_out: str


class PartitionView(BaseModel):
    """The log holds ``earliest`` up to, and not including, ``end``; ``position`` is what the group reads next, in the
    log that is named ``log_identity``; both are null while it has never read here. Lag in seconds is the age of the
    oldest record that waits. ``caught_up_to`` is domain time: everything accepted until then has been processed; null
    where nobody asks for that."""

    topic: Topic
    partition: int
    position: int | None
    log_identity: str | None
    earliest: int
    end: int
    lag_records: int
    lag_seconds: float
    caught_up_to: datetime | None
    stopped: StopView | None


@dataclass(frozen=True)
class Position:
    """What the group's database knows of a partition."""

    next: int
    refused_in_a_row: int
    lost: str | None
    log_identity: str
    caught_up_to: datetime | None


@dataclass(frozen=True)
class Borders:
    earliest: int
    end: int

    def lost(self, source: TopicPartition, position: int) -> str | None:
        """Why nothing can be read from a position, if so."""
        if self.earliest <= position <= self.end:
            return None
        return str(PositionLost(source, position, self.earliest, self.end))


async def look(database: Database, log: Places, group: str, topics: Sequence[Topic]) -> list[PartitionView]:
    """Every partition of ``topics``, as the group's ``database`` and the log know it. Changes nothing.

    Raises RetryLater when one of them does not answer, NotStarted when the log is not what we expect.
    """
    # Earliest first: what is read meanwhile may be dropped meanwhile. Ends last: nothing is read before it is there.
    earliest = await log.starts(topics)
    async with database.transaction() as connection:
        rows = await positions_of(connection, topics)
    ends = await log.ends(topics)
    positions = {source: rows[source].next if source in rows else earliest[source] for source in sorted(ends)}
    behind = await lags(log, positions, ends)
    return [
        _view(group, source, rows.get(source), Borders(earliest[source], ends[source]), behind[source])
        for source in positions
    ]


async def positions_of(
    connection: AsyncConnection, topics: Sequence[Topic], only: int | None = None
) -> Mapping[TopicPartition, Position]:
    """Of the topics; with ``only`` that partition of them, locked."""
    found = await connection.execute(
        text(
            "SELECT topic, partition, next, refused_in_a_row, lost, log_identity, caught_up_to FROM consumer_position "
            "WHERE topic = ANY (CAST(:topics AS text[]))"
            + ("" if only is None else " AND partition = :only FOR UPDATE")
        ),
        {"topics": [topic.value for topic in topics], "only": only},
    )
    return {TopicPartition(Topic(topic), partition): Position(*row) for topic, partition, *row in found}


def _view(group: str, source: TopicPartition, row: Position | None, borders: Borders, lag: Lag) -> PartitionView:
    stop = None if row is None else _stop(group, source, row, borders)
    return PartitionView(
        topic=source.topic,
        partition=source.partition,
        position=row and row.next,
        log_identity=row and row.log_identity,
        earliest=borders.earliest,
        end=borders.end,
        lag_records=lag.records,
        lag_seconds=round(lag.seconds(wall_now()), 3),
        caught_up_to=row and row.caught_up_to,
        stopped=stop and StopView(cause=stop.cause, why=stop.why, way_out=stop.way_out),
    )


def _stop(group: str, source: TopicPartition, row: Position, borders: Borders) -> Stop | None:
    """From what the database knows, so that every process of the group gives the same answer."""
    if why := row.lost or borders.lost(source, row.next):
        return stops.lost(group, source, why)
    if row.refused_in_a_row >= BREAKER_LIMIT and row.next < borders.end:
        return stops.broken(group, source)
    return None
