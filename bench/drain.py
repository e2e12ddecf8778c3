"""Watching a consumer empty the log: from the first record that it takes until nothing waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

import asyncpg

from bench.figures import NotMeasured
from bench.stage import Cost, Stage

LOOK_SECONDS = 0.05
LONGEST_SECONDS = 600.0


@dataclass(frozen=True)
class Drained:
    """``costs`` of everything on the stage, of these events alone; memory as at the end."""

    events: int
    seconds: float
    costs: Mapping[str, Cost]

    @property
    def events_per_s(self) -> float:
        return self.events / self.seconds

    def cpu_s_per_million(self, *actors: str) -> float:
        """Of these actors together; one that is not on this stage costs nothing."""
        return sum(self.costs[name].cpu_seconds for name in actors if name in self.costs) * 1e6 / self.events


class Meter:
    """Reads in the consumer's own database how far it is, as seldom as a figure allows."""

    def __init__(self, stage: Stage, connection: asyncpg.Connection, schema: str) -> None:
        self._stage = stage
        self._connection = connection
        self._read = f"SELECT coalesce(sum(next), 0)::bigint FROM {schema}.consumer_position WHERE topic = 'telemetry'"
        self._first = self._begun_at = 0.0
        self._before: Mapping[str, Cost] = {}

    async def leave_no_debt(self) -> None:
        """What was written before shall not be flushed at the expense of what is measured."""
        await self._connection.execute("CHECKPOINT")

    async def begun(self) -> None:
        """Returns when the first records have been taken: the time it takes a process to start is not measured."""
        await self._until(lambda taken: taken > 0)
        self._before = self._stage.costs()
        self._begun_at, self._first = monotonic(), await self._taken()

    async def drained(self, count: int) -> Drained:
        """Returns when all ``count`` records of the log have been taken."""
        await self._until(lambda taken: taken >= count)
        return self.since_begin(count)

    async def empty(self, table: str) -> None:
        """Returns when there is no row in ``table``."""
        deadline = monotonic() + LONGEST_SECONDS
        while await self._connection.fetchval(f"SELECT EXISTS (SELECT FROM {table})"):
            if monotonic() > deadline:
                raise NotMeasured(f"After {LONGEST_SECONDS:.0f} s there still are rows in {table}.")
            await asyncio.sleep(LOOK_SECONDS)

    async def count(self, query: str) -> int:
        return int(await self._connection.fetchval(query))

    def since_begin(self, count: int) -> Drained:
        seconds = monotonic() - self._begun_at
        costs = {name: cost - self._before[name] for name, cost in self._stage.costs().items()}
        return Drained(int(count - self._first), seconds, costs)

    async def _taken(self) -> int:
        return await self.count(self._read)

    async def _until(self, enough: Callable[[int], bool]) -> None:
        deadline = monotonic() + LONGEST_SECONDS
        while not enough(taken := await self._taken()):
            if monotonic() > deadline:
                raise NotMeasured(f"After {LONGEST_SECONDS:.0f} s only {taken} records were taken from the log.")
            await asyncio.sleep(LOOK_SECONDS)
