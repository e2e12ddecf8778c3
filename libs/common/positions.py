"""Positions: how far a service has read each partition, kept in its own database and moved with the effects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.common.db import AsyncConnection, Database, text
from libs.common.errors import NotStarted, OwnershipLost
from libs.common.event_log import Batch, EventLog, TopicPartition
from libs.common.topics import Topic

_ROW = "next, refused_in_a_row, lost, log_identity"


@dataclass(frozen=True)
class _Known:
    """A row as of our own last look or commit. ``lost``: why nothing can be read from there."""

    next: int
    refused_in_a_row: int
    lost: str | None


class Positions:
    """The positions of one consumer. What it remembers of a partition is as of its own last commit there, so never
    ahead of the database."""

    def __init__(self, group: str, database: Database, log: EventLog) -> None:
        self._group = group
        self._database = database
        self._log = log
        self._known: dict[TopicPartition, _Known] = {}
        self._identities: dict[Topic, str] = {}

    async def find(self, source: TopicPartition) -> int:
        """Where to read on. A partition that was never read starts at the earliest position that the log holds.

        Raises NotStarted when the positions belong to another log.
        """
        identity = self._identities[source.topic] = await self._log.identity(source.topic)
        place = {"topic": source.topic.value, "partition": source.partition}
        select = text(f"SELECT {_ROW} FROM consumer_position WHERE topic = :topic AND partition = :partition")
        async with self._database.transaction() as connection:
            found = (await connection.execute(select, place)).one_or_none()
        if found is None:
            earliest = (await self._log.starts([source.topic]))[source]
            async with self._database.transaction() as connection:
                await connection.execute(
                    text(
                        "INSERT INTO consumer_position (topic, partition, log_identity, next) "
                        "VALUES (:topic, :partition, :identity, :next) ON CONFLICT DO NOTHING"
                    ),
                    {**place, "identity": identity, "next": earliest},
                )
                found = (await connection.execute(select, place)).one()
        self._known[source] = self._read(source, found)
        return self.known(source)

    def _read(self, source: TopicPartition, row: Any) -> _Known:
        """Raises NotStarted when the row is about another log."""
        identity = self.identity(source.topic)
        if row.log_identity != identity:
            raise NotStarted(
                f"{self._group} has read {source.topic}/{source.partition} of the event log {row.log_identity}, but "
                f"this one is {identity}; connect the old log again, or go on with this one: kizashi log adopt."
            )
        return _Known(row.next, row.refused_in_a_row, row.lost)

    async def refresh(self, sources: Collection[TopicPartition]) -> Sequence[TopicPartition]:
        """Look again. The answer names those whose row is not as we left it: an operator, or another process, has
        changed it. Not to be called while a batch is in hand. Raises NotStarted as ``find`` does."""
        async with self._database.transaction() as connection:
            rows = await connection.execute(
                text(
                    f"SELECT topic, partition, {_ROW} FROM consumer_position "
                    "WHERE topic = ANY (CAST(:topics AS text[])) ORDER BY topic, partition"
                ),
                {"topics": sorted({source.topic.value for source in sources})},
            )
        changed = []
        for row in rows:
            source = TopicPartition(Topic(row.topic), row.partition)
            if source in sources and (found := self._read(source, row)) != self._known.get(source):
                self._known[source] = found
                changed.append(source)
        return changed

    def identity(self, topic: Topic) -> str:
        """Of the log's topic that our positions belong to."""
        return self._identities[topic]

    def known(self, source: TopicPartition) -> int:
        """The position as far as we know; if somebody else has moved it since, the next ``advance`` tells."""
        return self._known[source].next

    def refused_in_a_row(self, source: TopicPartition) -> int:
        """How many records before the position were refused, one after the other."""
        return self._known[source].refused_in_a_row

    def lost(self, source: TopicPartition) -> str | None:
        """Why nothing can be read from the position, until somebody moves it."""
        return self._known[source].lost

    async def note_lost(self, source: TopicPartition, why: str) -> None:
        """What the position names is not in the log. That stays so over restarts, whatever the log holds later: a log
        that lost its end and grows past the position again would hide the loss."""
        async with self._database.transaction() as connection:
            await connection.execute(
                text(
                    "UPDATE consumer_position SET lost = :why WHERE topic = :topic AND partition = :partition "
                    "AND next = :next AND log_identity = :identity AND lost IS NULL"
                ),
                {
                    "why": why,
                    "topic": source.topic.value,
                    "partition": source.partition,
                    "next": self.known(source),
                    "identity": self.identity(source.topic),
                },
            )
        await self.find(source)

    async def advance(self, connection: AsyncConnection, batch: Batch, refused_in_a_row: int) -> datetime:
        """Move from the batch's start to its end, in its transaction. The answer is the database's clock.

        Raises OwnershipLost when the position is not at the start: what the batch holds has been, or is being,
        processed by somebody else. Waits for a transaction that is moving the same position.
        """
        moved = await connection.execute(
            text(
                "UPDATE consumer_position SET next = :end, refused_in_a_row = :refused "
                "WHERE topic = :topic AND partition = :partition AND next = :start AND log_identity = :identity "
                "AND lost IS NULL RETURNING clock_timestamp()"
            ),
            {
                "topic": batch.source.topic.value,
                "partition": batch.source.partition,
                "start": batch.start,
                "end": batch.end,
                "refused": refused_in_a_row,
                "identity": self.identity(batch.source.topic),
            },
        )
        now: datetime | None = moved.scalar_one_or_none()
        if now is None:
            raise OwnershipLost(f"{batch.source.topic}/{batch.source.partition} is not at {batch.start} any more")
        return now

    def advanced(self, batch: Batch, refused_in_a_row: int) -> None:
        """The transaction in which ``advance`` was called is committed."""
        self._known[batch.source] = _Known(batch.end, refused_in_a_row, None)

    def of(self, sources: Collection[TopicPartition]) -> Mapping[TopicPartition, int]:
        return {source: self._known[source].next for source in sources if source in self._known}

    async def note_caught_up(self, moments: Mapping[TopicPartition, datetime]) -> None:
        """Everything accepted on a partition up to its moment (domain time) has been processed. Never moves back.

        Each moment was passed by a position of ours that is committed, so it holds whoever owns the partition now.
        """
        sources = sorted(moments)
        async with self._database.transaction() as connection:
            await connection.execute(text("SET LOCAL synchronous_commit = off"))  # to lose a second of it is no harm
            await connection.execute(
                text(
                    "UPDATE consumer_position p SET caught_up_to = given.moment FROM unnest(CAST(:topics AS text[]), "
                    "CAST(:partitions AS int[]), CAST(:moments AS timestamptz[]), CAST(:positions AS bigint[]), "
                    "CAST(:identities AS text[])) AS given (topic, partition, moment, position, identity) WHERE "
                    "p.topic = given.topic AND p.partition = given.partition AND p.log_identity = given.identity "
                    "AND p.next >= given.position AND p.lost IS NULL "
                    "AND (p.caught_up_to IS NULL OR p.caught_up_to < given.moment)"
                ),
                {
                    "topics": [source.topic.value for source in sources],
                    "partitions": [source.partition for source in sources],
                    "moments": [moments[source] for source in sources],
                    "positions": [self.known(source) for source in sources],
                    "identities": [self.identity(source.topic) for source in sources],
                },
            )
