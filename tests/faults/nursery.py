"""Bears service processes in a moment: everything is imported once, and each process is a fork that runs its module as
``python -m`` would. Starting them one by one would cost a test of faults most of its time.

python -m tests.faults.nursery

A line of JSON on stdin asks for a process: {"command": ["services.health"], "environment": {…}, "log": "…"}. Lines on
stdout answer: {"born": pid} in the order of the questions, and {"dead": pid, "status": n} when one has ended, negative
for a signal. When stdin closes, it kills all that it bore.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import random
import runpy
import select
import signal
import sys
import traceback
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]
WHAT_THEY_NEED = (
    "services.ingest.app",
    "services.health.app",
    "services.playbook.app",
    "services.notify.app",
    "deploy.local.inbox.server",
)


# --- in the process of the test ---


@dataclass
class Child:
    pid: int
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    returncode: int | None = None

    async def wait(self) -> int:
        """The exit status, negative for a signal."""
        await self.ended.wait()
        assert self.returncode is not None
        return self.returncode


class Nursery:
    """``start`` it once. Whatever it bore dies with it."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None
        self._asked: deque[asyncio.Future[Child]] = deque()
        self._children: dict[int, Child] = {}

    async def start(self) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("KIZASHI_")}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.faults.nursery",
                cwd=ROOT,
                env=own,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self._listening = asyncio.create_task(self._listen(), name="nursery")

    async def bear(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Child:
        assert self._process is not None
        assert self._process.stdin is not None
        answer: asyncio.Future[Child] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        asked = {"command": list(command), "environment": dict(environment), "log": str(log)}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        await self._process.stdin.drain()
        return await answer

    async def stop(self) -> None:
        if self._process is None or self._listening is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._listening

    async def _listen(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "born" in said:
                child = self._children[said["born"]] = Child(said["born"])
                self._asked.popleft().set_result(child)
            else:
                child = self._children.pop(said["dead"])
                child.returncode = said["status"]
                child.ended.set()


# --- in the process of its own ---


def main() -> None:
    for module in WHAT_THEY_NEED:
        importlib.import_module(module)
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    unread = b""
    while True:
        readable, _, _ = select.select([0, woken], [], [])
        if woken in readable:
            os.read(woken, 4096)
            _tell_of_the_dead(children)
        if 0 in readable:
            given = os.read(0, 65536)
            if not given:
                break
            *lines, unread = (unread + given).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.close(woken)
                    os.close(waker)
                    _live(**json.loads(line))
                children.add(pid)
                _say({"born": pid})
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in children:
        os.waitpid(pid, 0)


def _tell_of_the_dead(children: set[int]) -> None:
    for pid in sorted(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            children.discard(pid)
            _say({"dead": pid, "status": os.waitstatus_to_exitcode(status)})


def _say(said: Mapping[str, Any]) -> None:
    os.write(1, json.dumps(said).encode() + b"\n")


def _live(command: Sequence[str], environment: Mapping[str, str], log: str) -> NoReturn:
    """As a process that was started for this alone."""
    status: int | str | None = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        written = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(written, 1)
        os.dup2(written, 2)
        os.environ.update(environment)
        random.seed()
        sys.argv = [command[0], *command[1:]]
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as exc:
        status = exc.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 0 if status is None else 1)


if __name__ == "__main__":
    main()
