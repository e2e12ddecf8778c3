"""Moves an installation to another event log: nothing lost, nothing doubled, and killed anywhere it is run again.

With all services stopped: seal the old log, plan, copy what its readers have not read, read it back, and point all
positions at the new log in one transaction. Until that transaction the installation belongs to the old log, and
``give_up`` opens it again. docs/moving-the-log.md is the operator's page; the command is cli/log_move.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from libs.common.errors import NotStarted
from libs.common.event_log import EventLog, TopicPartition
from libs.common.failpoints import failpoint
from libs.common.log_move.copy import Copy, Tell
from libs.common.log_move.logs import MovableLog
from libs.common.log_move.positions import Passage, Plan, Position, Positions
from libs.common.log_move.postgres import PostgresLog, running
from libs.common.log_move.work import Work, at_work
from libs.common.topics import READERS, Topic


@dataclass(frozen=True)
class Destination:
    """The new log twice: ``log`` as services know it, which is appended to, and as a log that a move knows, which is
    read back and may have been left once. Neither is open yet."""

    log: EventLog
    movable: MovableLog

    @property
    def place(self) -> str:
        return self.movable.place


class LogMove:
    """``owner_url`` is the services' database as its owner. ``tell`` gets a line for the operator now and then."""

    def __init__(
        self, owner_url: str, origin: MovableLog, *, tell: Tell, readers: Mapping[Topic, str] = READERS
    ) -> None:
        self._owner_url = owner_url
        self._origin = origin
        self._readers = readers
        self._tell = tell

    async def run(self, destination: Destination, *, dry: bool = False) -> None:
        """Move, or with ``dry`` only say what would be moved. To repeat it does no harm.

        Raises NotStarted with one sentence, after which everything is as it was or the next run goes on.
        """
        async with at_work(self._owner_url, self._origin, self._readers) as work:
            alive = sorted({*await running(work.owner), *await self._origin.running()})
            if alive and not dry:
                raise NotStarted(
                    f"Kizashi is still at work: {', '.join(alive)}. Stop every service, frozen ones too; "
                    "SELECT pg_terminate_backend(…) ends the session of a process that is out of reach."
                )
            try:
                await destination.movable.open()
                await self._move(work, destination, dry)
            finally:
                await destination.log.close()
                await destination.movable.close()
            if alive:
                self._tell(f"To be stopped first: {', '.join(alive)}")

    async def give_up(self) -> None:
        """Open the old log again, if no position has left it. Raises NotStarted."""
        async with at_work(self._owner_url, self._origin, self._readers) as work:
            plan = await work.positions.unfinished()
            if plan is None:
                if await self._origin.moved_to() is None:
                    raise NotStarted("No move of this log is under way: there is nothing to give up.")
                for source, position in (await work.positions.of_services()).items():
                    if position.identity != await self._origin.identity(source.topic):
                        raise NotStarted(
                            f"The move from {self._origin.place} has ended and the positions have left it: there is "
                            "nothing to give up. A move in the other direction (--from, --to) brings them back."
                        )
            else:
                await work.positions.give_up(plan)
                failpoint("log_move.given_up")
            await self._seal_own_log()
            await self._origin.unseal()
            self._tell(f"The log at {self._origin.place} takes records again: start the services with it.")

    async def _seal_own_log(self) -> None:
        """The services' database has a log of its own; one that a move back has opened again must not stay open."""
        own = PostgresLog(self._owner_url)
        try:
            await own.open()
            if await own.identity(Topic.TELEMETRY) != await self._origin.identity(Topic.TELEMETRY):
                await own.seal(self._origin.place)
        finally:
            await own.close()

    # --- the steps ---

    async def _move(self, work: Work, destination: Destination, dry: bool) -> None:
        new = {topic: await destination.movable.identity(topic) for topic in Topic}
        if new == {topic: await self._origin.identity(topic) for topic in Topic}:
            raise NotStarted(
                f"{destination.place} is the log that is to be moved; name another one with --to or KIZASHI_LOG_URL."
            )
        plan = await work.positions.unfinished()
        if plan is not None:
            await self._refuse_another(plan, new)
        elif await self._is_done(work.positions, new):
            self._tell(f"All positions belong to the log at {destination.place} already: nothing is left to be moved.")
            return
        first = await self._first_positions(work.positions)
        if dry:
            await self._describe(work.positions, destination, first)
            return
        await self._origin.seal(destination.place)
        failpoint("log_move.sealed")
        if plan is None:
            plan = await work.positions.begin(
                self._origin.place, destination.place, await self._passages(destination.movable, first, new)
            )
            failpoint("log_move.planned")
        if await destination.movable.moved_to() is not None:
            # It was left once. What anybody appends to it from here on lies behind the positions of the plan.
            await destination.movable.unseal()
            failpoint("log_move.unsealed")
        await destination.log.open()
        copy = Copy(
            plan.passages,
            old=self._origin,
            new=destination.log,
            readable=destination.movable,
            may_append=lambda: work.lock.alive,
            tell=self._tell,
        )
        copied = await copy.run()
        failpoint("log_move.copied")
        await work.positions.switch(plan)
        failpoint("log_move.switched")
        self._tell(
            f"Moved: {copied:,} records copied, all of them read back, every position switched. "
            f"Start the services with KIZASHI_LOG_URL={destination.place}"
        )

    async def _passages(
        self, new_log: MovableLog, first: Mapping[TopicPartition, int], new: Mapping[Topic, str]
    ) -> Sequence[Passage]:
        """A reader's records begin where the new log ends. What nobody reads may be there from an earlier move."""
        starts, ends = await new_log.starts(), await new_log.ends()
        return [
            Passage(
                source,
                source.topic in self._readers,
                await self._origin.identity(source.topic),
                first[source],
                new[source.topic],
                end if source.topic in self._readers else starts[source],
            )
            for source, end in ends.items()
        ]

    async def _first_positions(self, positions: Positions) -> Mapping[TopicPartition, int]:
        """From where on the old log's records are wanted: its reader's position, else all that it still holds.

        Raises NotStarted when a position belongs to another log, or lies outside of what this one holds.
        """
        starts, ends = await self._origin.starts(), await self._origin.ends()
        found = await positions.of_services()
        first = dict(starts)
        for source, position in found.items():
            await self._refuse_stray(source, position)
            if position.lost is not None or not starts[source] <= position.next <= ends[source]:
                raise NotStarted(
                    f"{position.service} is at {position.next} in {source.topic}/{source.partition}, but the log holds "
                    f"{starts[source]} to {ends[source]}: records were lost before any move. Start {position.service} "
                    "on the old log, let it go on there with kizashi log skip, and move then."
                )
            first[source] = position.next
        return first

    async def _refuse_stray(self, source: TopicPartition, position: Position) -> None:
        if position.identity != await self._origin.identity(source.topic):
            raise NotStarted(
                f"{position.service} reads {source.topic}/{source.partition} of the log {position.identity}, which is "
                f"not the one at {self._origin.place}; name the log that the services run on with --from."
            )

    async def _refuse_another(self, plan: Plan, new: Mapping[Topic, str]) -> None:
        for passage in plan.passages:
            old = await self._origin.identity(passage.source.topic)
            if (passage.old_identity, passage.new_identity) != (old, new[passage.source.topic]):
                raise NotStarted(
                    f"A move to {plan.destination} is under way, and this is another one; go on with that one, or give "
                    "it up first (--give-up)."
                )

    async def _is_done(self, positions: Positions, new: Mapping[Topic, str]) -> bool:
        found = await positions.of_services()
        return bool(found) and all(one.identity == new[source.topic] for source, one in found.items())

    async def _describe(
        self, positions: Positions, destination: Destination, first: Mapping[TopicPartition, int]
    ) -> None:
        ends = await self._origin.ends()
        self._tell(f"From {self._origin.place} to {destination.place} would go:")
        for topic in Topic:
            count = sum(ends[source] - start for source, start in first.items() if source.topic == topic)
            reader = self._readers.get(topic)
            whose = f"that {reader} has not read" if reader else "that nobody reads: all that are kept"
            self._tell(f"  {topic}: {count:,} records {whose}")
        for service, count in (await positions.unpublished()).items():
            self._tell(f"  outbox of {service}: {count:,} records, published to the new log when the service starts")
