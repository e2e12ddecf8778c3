"""What services need and do not have in their own hands, to be killed, frozen and brought back: PostgreSQL here, the
event log's broker in ``broker``. Both keep their data and their address."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Protocol

import psutil

from deploy.local import postgres
from deploy.local.database import LOGIN, NAME, OWNER
from libs.common.testing import eventually


class Dependency(Protocol):
    """``start`` returns when it answers, also after ``kill`` (SIGKILL) or ``stop``."""

    @property
    def pid(self) -> int: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def kill(self) -> None: ...


class Postgres:
    """A durable server: what it committed survives ``kill``."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._running: postgres.EmbeddedPostgres | None = None

    @property
    def running(self) -> postgres.EmbeddedPostgres:
        assert self._running is not None
        return self._running

    @property
    def pid(self) -> int:
        return self.running.pid

    @property
    def url(self) -> str:
        return self.running.url(LOGIN, NAME)

    @property
    def owner_url(self) -> str:
        return self.running.url(OWNER, NAME)

    async def start(self) -> None:
        self._running = await asyncio.to_thread(postgres.start, self._data)

    async def stop(self) -> None:
        if self._running is not None:
            await asyncio.to_thread(self._running.stop)

    async def kill(self) -> None:
        await asyncio.to_thread(_kill, _family(self.pid))


async def freeze(dependency: Dependency) -> None:
    """All its processes: a server whose first process stands still goes on serving who is connected already. Returns
    when it stands still; a signal takes its time with many threads on a busy machine."""
    _send(dependency, signal.SIGSTOP)

    async def stands_still() -> bool:
        return not is_at_work(dependency)

    await eventually(stands_still, what="it stands still")


def thaw(dependency: Dependency) -> None:
    _send(dependency, signal.SIGCONT)


def is_at_work(dependency: Dependency) -> bool:
    """Whether it runs and does not stand still."""
    try:
        return psutil.Process(dependency.pid).status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
    except psutil.NoSuchProcess:
        return False


def _send(dependency: Dependency, number: signal.Signals) -> None:
    for process in _family(dependency.pid):
        with contextlib.suppress(psutil.NoSuchProcess):  # a connection of PostgreSQL's has just ended
            process.send_signal(number)


def _family(pid: int) -> list[psutil.Process]:
    first = psutil.Process(pid)
    return [first, *first.children(recursive=True)]


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:  # the first one first, else it would start the others again
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)
