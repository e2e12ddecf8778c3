"""supervisord as we use it: killed, it takes with it what it started, also what it has only just started again."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

from deploy.local.home import Home
from deploy.local.leftovers import runs
from deploy.local.supervisor import Program, Supervisor
from libs.common.testing import eventually


async def test_killed_it_leaves_nothing_behind(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.make()
    sleeping = (sys.executable, "-c", "import time; time.sleep(60)")
    supervisor = Supervisor(home, [Program("one", sleeping), Program("two", sleeping)], {})

    async def running(instead_of: int = 0) -> list[int]:
        found = [process.pid for process in await supervisor.processes() or [] if process.pid]
        return found if len(found) == 2 and instead_of not in found else []

    try:
        first, second = await eventually(running)
        psutil.Process(first).kill()
        again = await eventually(lambda: running(instead_of=first))
    finally:
        supervisor.kill()
    assert second in again

    async def none_left() -> bool:
        return not any(runs(pid) for pid in again)

    await eventually(none_left)
