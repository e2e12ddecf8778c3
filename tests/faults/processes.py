"""A service process under a supervisor of ours: who ends without being told to is started again, and that is noted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import psutil

from libs.common.runtime import pause
from libs.common.testing import eventually
from tests.faults.nursery import ROOT as ROOT
from tests.faults.nursery import Child, Nursery

CANNOT_START = 2
"""The exit status that comes with a sentence for the operator: starting again would not help."""
PAUSE_SECONDS = 0.5
"""Before a process that ended by itself is started again."""


@dataclass(frozen=True)
class Start:
    """``at`` is monotonic; ``planned`` unless the process before it ended by itself or was killed."""

    at: float
    pid: int
    planned: bool


@dataclass
class Supervised:
    """One process. What it prints goes to ``log``; ``exits`` are exit statuses, negative for a signal."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    nursery: Nursery
    starts: list[Start] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    _child: Child | None = None
    _watching: asyncio.Task[None] | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    @property
    def runs(self) -> bool:
        return self._child is not None and self._child.returncode is None

    @property
    def is_given_up(self) -> bool:
        """It does not run, and nobody is about to start it."""
        return not self.runs and (self._watching is None or self._watching.done())

    async def start(self, **more: str) -> None:
        """``more`` are environment variables of this one start; the next one is without them."""
        self._stopping.clear()
        await self._spawn(more, planned=True)
        self._watching = asyncio.create_task(self._watch(), name=f"watch {self.name}")

    async def stop(self, within_seconds: float = 20.0) -> int:
        """SIGTERM; the exit status. Raises AssertionError when it does not end in time, and kills it."""
        self._stopping.set()
        self.send(signal.SIGTERM)
        return await self._until_over(within_seconds)

    async def end(self) -> None:
        """SIGKILL, for good."""
        self._stopping.set()
        if self._watching is not None:
            self.send(signal.SIGKILL)
            await self._until_over(10)

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.runs:
                os.kill(self.pid, number)

    def freeze(self) -> None:
        self.send(signal.SIGSTOP)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    @property
    def is_frozen(self) -> bool:
        try:
            return self.runs and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return False

    async def until_frozen(self, within_seconds: float = 20.0) -> None:
        async def frozen() -> bool:
            return self.is_frozen

        await eventually(frozen, within_seconds=within_seconds, what=f"{self.name} is frozen")

    async def until_exits(self, count: int, within_seconds: float = 20.0) -> int:
        """Until it has ended ``count`` times; the last exit status."""

        async def so_many() -> bool:
            return len(self.exits) >= count

        await eventually(so_many, within_seconds=within_seconds, what=f"{self.name} ends for the {count}th time")
        return self.exits[-1]

    async def until_started_again(self, starts: int, within_seconds: float) -> None:
        """Until it has been started more often than that."""

        async def more() -> bool:
            return len(self.starts) > starts

        await eventually(more, within_seconds=within_seconds, what=f"{self.name} is started again")

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    async def _spawn(self, more: Mapping[str, str], *, planned: bool) -> None:
        self._child = await self.nursery.bear(self.command, {**self.environment, **more}, self.log)
        self.starts.append(Start(monotonic(), self._child.pid, planned))

    async def _watch(self) -> None:
        while True:
            assert self._child is not None
            status = await self._child.wait()
            self.exits.append(status)
            if self._stopping.is_set() or status == CANNOT_START:
                return
            await pause(self._stopping, PAUSE_SECONDS)
            if self._stopping.is_set():
                return
            await self._spawn({}, planned=False)

    async def _until_over(self, within_seconds: float) -> int:
        assert self._watching is not None
        try:
            async with asyncio.timeout(within_seconds):
                await asyncio.shield(self._watching)
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self._watching
            raise AssertionError(f"{self.name} did not end within {within_seconds:.0f} s; see {self.log}") from None
        return self.exits[-1]
