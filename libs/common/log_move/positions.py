"""What a move changes in the services' database: its plan, and in the end, all at once, whose positions are where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from libs.common.errors import NotStarted
from libs.common.event_log import TopicPartition
from libs.common.failpoints import failpoint
from libs.common.topics import Topic

ADOPTED = "kizashi log adopt"
"""In the place of an API key, in the list of positions that somebody moved."""


@dataclass(frozen=True)
class Passage:
    """A partition's way: what the old log holds from ``first`` on, the new one shall hold from ``begin`` on.

    Of a partition that has no reader, retention may take records from either side meanwhile.
    """

    source: TopicPartition
    has_reader: bool
    old_identity: str
    first: int
    new_identity: str
    begin: int


@dataclass(frozen=True)
class Plan:
    number: int
    destination: str
    passages: Sequence[Passage]


@dataclass(frozen=True)
class Position:
    """Where a service is in a partition, and in the log of which identity. ``lost`` says why it cannot go on there."""

    service: str
    next: int
    identity: str
    lost: str | None


class Positions:
    """``readers`` names the service that reads each topic; its schema has its positions."""

    def __init__(self, owner: asyncpg.Connection, readers: Mapping[Topic, str]) -> None:
        self._owner = owner
        self._readers = readers

    async def of_services(self) -> Mapping[TopicPartition, Position]:
        """Of the partitions that were ever read."""
        found: dict[TopicPartition, Position] = {}
        for service, topics in self._topics().items():
            rows = await self._owner.fetch(
                "SELECT topic, partition, next, log_identity, lost "
                f"FROM {service}.consumer_position WHERE topic = ANY ($1)",
                topics,
            )
            for topic, partition, *position in rows:
                found[TopicPartition(Topic(topic), partition)] = Position(service, *position)
        return found

    async def unpublished(self) -> Mapping[str, int]:
        """How many rows wait in each service's outbox. They go to whatever log their service runs on next."""
        return {
            service: await self._owner.fetchval(f"SELECT count(*) FROM {service}.outbox") for service in self._topics()
        }

    # --- the plan ---

    async def unfinished(self) -> Plan | None:
        """The move that was begun and neither ended nor given up."""
        begun = await self._owner.fetchrow("SELECT number, destination FROM log.move WHERE ended_at IS NULL")
        if begun is None:
            return None
        rows = await self._owner.fetch(
            "SELECT topic, partition, old_identity, first, new_identity, begin FROM log.move_partition "
            "WHERE move = $1 ORDER BY topic, partition",
            begun["number"],
        )
        passages = [
            Passage(TopicPartition(Topic(topic), partition), Topic(topic) in self._readers, *borders)
            for topic, partition, *borders in rows
        ]
        return Plan(begun["number"], begun["destination"], passages)

    async def begin(self, origin: str, destination: str, passages: Sequence[Passage]) -> Plan:
        async with self._owner.transaction():
            number: int = await self._owner.fetchval(
                "INSERT INTO log.move (origin, destination) VALUES ($1, $2) RETURNING number", origin, destination
            )
            await self._owner.executemany(
                "INSERT INTO log.move_partition (move, topic, partition, old_identity, first, new_identity, begin) "
                "VALUES ($1, $2, $3, $4, $5, $6, $7)",
                [(number, *p.source, p.old_identity, p.first, p.new_identity, p.begin) for p in passages],
            )
        return Plan(number, destination, passages)

    async def give_up(self, plan: Plan) -> None:
        await self._owner.execute(
            "UPDATE log.move SET ended_at = now(), outcome = 'given up' WHERE number = $1 AND ended_at IS NULL",
            plan.number,
        )

    # --- the switch ---

    async def switch(self, plan: Plan) -> None:
        """Point every position at the new log, where the copied records begin; all of them or none.

        Compare-and-set on the old identity. A row keeps the rest: ``caught_up_to`` says that everything accepted up to
        a moment lies before the position, and so it does in the new log, which begins with what came behind it;
        ``refused_in_a_row`` counts what came before, too. A partition that was never read gets a row, so that its
        reader does not begin with what the new log may have held before.
        Raises NotStarted when a position belongs to neither log.
        """
        async with self._owner.transaction():
            for service, topics in self._topics().items():
                rows = f"{service}.consumer_position"
                await self._owner.execute(
                    f"UPDATE {rows} p SET log_identity = m.new_identity, next = m.begin FROM log.move_partition m "
                    "WHERE m.move = $1 AND m.topic = ANY ($2) AND p.topic = m.topic AND p.partition = m.partition "
                    "AND p.log_identity = m.old_identity",
                    plan.number,
                    topics,
                )
                await self._owner.execute(
                    f"INSERT INTO {rows} (topic, partition, log_identity, next) "
                    "SELECT topic, partition, new_identity, begin FROM log.move_partition "
                    "WHERE move = $1 AND topic = ANY ($2) ON CONFLICT (topic, partition) DO NOTHING",
                    plan.number,
                    topics,
                )
                stray = await self._owner.fetchrow(
                    f"SELECT p.topic, p.partition, p.log_identity FROM {rows} p JOIN log.move_partition m "
                    "ON m.topic = p.topic AND m.partition = p.partition "
                    "WHERE m.move = $1 AND m.topic = ANY ($2) AND p.log_identity <> m.new_identity LIMIT 1",
                    plan.number,
                    topics,
                )
                if stray is not None:
                    raise NotStarted(
                        f"{service} reads {stray['topic']}/{stray['partition']} of the log {stray['log_identity']}, "
                        "which is neither the old log nor the new one; nothing was switched."
                    )
            await self._owner.execute(
                "UPDATE log.move SET ended_at = now(), outcome = 'moved' WHERE number = $1", plan.number
            )
            failpoint("log_move.before_commit")

    # --- another log ---

    async def begin_anew(
        self,
        strays: Mapping[TopicPartition, Position],
        identities: Mapping[Topic, str],
        starts: Mapping[TopicPartition, int],
    ) -> None:
        """Point these positions at the earliest record of a log that has nothing of the one they belong to; all or
        none. ``caught_up_to`` stays, as it does when an operator passes records over.

        Raises NotStarted when somebody has moved one of them meanwhile.
        """
        async with self._owner.transaction():
            for source, position in strays.items():
                moved = await self._owner.fetchval(
                    f"UPDATE {position.service}.consumer_position SET log_identity = $1, next = $2, lost = NULL, "
                    "refused_in_a_row = 0 WHERE topic = $3 AND partition = $4 AND log_identity = $5 AND next = $6 "
                    "RETURNING true",
                    *(identities[source.topic], starts[source], source.topic.value, source.partition),
                    *(position.identity, position.next),
                )
                if not moved:
                    raise NotStarted(
                        f"{position.service} has read on in {source.topic}/{source.partition}; nothing was changed. "
                        "Stop it, and look again."
                    )
                await self._owner.execute(
                    f"INSERT INTO {position.service}.position_move "
                    "(topic, partition, log_identity, moved_from, moved_to, moved_by) VALUES ($1, $2, $3, $4, $5, $6)",
                    *(source.topic.value, source.partition, identities[source.topic]),
                    *(position.next, starts[source], ADOPTED),
                )

    def _topics(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for topic, service in sorted(self._readers.items()):
            found.setdefault(service, []).append(topic.value)
        return found
