"""One run: a fresh workspace under load, faults that strike meanwhile, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from libs.common.event_log import EventLog
from libs.common.testing import eventually
from tests.faults.history import History
from tests.faults.inject import inject
from tests.faults.load import RATE, Load
from tests.faults.recorder import Recorder
from tests.faults.schedule import Fault, OfService
from tests.faults.town import Town

STORIES: Mapping[str, int] = {"high": 6, "pool": 6, "mail": 28}
TOLD_AT_LEAST = 14
TELL_EVERY_SECONDS = 0.35
AFTERWARDS_SECONDS = 1.0
"""Of load after the last fault, so that what was struck is seen to work again."""


class Run:
    """``load`` is at work as long as the block of ``under_load`` lasts; after it there is a ``history``."""

    def __init__(self, town: Town, load: Load, log: EventLog) -> None:
        self.town = town
        self.load = load
        self.recorder = Recorder(town, load, log)
        self.missed: list[Fault] = []
        """Faults that nothing met: a failpoint that was not passed in time."""
        self._history: History | None = None

    @property
    def history(self) -> History:
        assert self._history is not None, "the load is still at work"
        return self._history

    async def strike(self, fault: Fault) -> bool:
        """Now, whatever its ``at`` says, and until it is over: processes that were started again have come up. Whether
        it came to it."""
        at = self.recorder.now()
        met = await inject(self.town, fault)
        if isinstance(fault, OfService):
            await self.town.until_up([process.name for process in self.town.of(fault.service)])
        if not met:
            self.missed.append(fault)
        self.recorder.note_fault(str(fault), at, self.recorder.now())
        return met

    async def strike_all(self, faults: Sequence[Fault]) -> None:
        """Each at its moment, side by side."""

        async def in_time(fault: Fault) -> None:
            await asyncio.sleep(fault.at)
            await self.strike(fault)

        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(in_time(fault), name=str(fault))

    async def keep_telling(self, every_seconds: float) -> None:
        """A story now and then, as long as there are any."""
        while self.load.untold:
            self.load.tell()
            await asyncio.sleep(every_seconds)

    async def until_told(self, count: int) -> None:
        async def so_many() -> bool:
            return len(self.load.told) >= count or not self.load.untold

        await eventually(so_many, within_seconds=60, what=f"{count} stories are told")

    async def end(self, seed: int | None) -> None:
        self._history = await self.recorder.history(seed=seed)


@asynccontextmanager
async def under_load(
    town: Town,
    *,
    stories: Mapping[str, int] = STORIES,
    tell_every_seconds: float = TELL_EVERY_SECONDS,
    rate: float = RATE,
    seed: int | None = None,
) -> AsyncIterator[Run]:
    """Every process is ready when the block begins, and stories are told as long as it lasts.

    Faults of the block must be over when it ends. Then everything gets its time to come through, and ``history`` is
    there.
    """
    await town.mend()
    keys = await town.new_workspace()
    log = town.event_log(f"recorder {keys.workspace}")
    await log.open()
    try:
        run = Run(town, Load(town, keys, stories, rate=rate), log)
        await run.recorder.begin()
        async with run.load.at_work():
            telling = asyncio.create_task(run.keep_telling(tell_every_seconds), name="tell")
            try:
                yield run
                await run.until_told(TOLD_AT_LEAST)
                await asyncio.sleep(AFTERWARDS_SECONDS)
            finally:
                telling.cancel()
        await run.end(seed)
    finally:
        await log.close()
