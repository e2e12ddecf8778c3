"""A real `make run` for a test: started in a home of its own on free ports, watched, killed, and left with nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import psutil

from deploy.local.home import Home
from deploy.local.settings import PROCESSES
from libs.common.testing import eventually

ROOT = Path(__file__).parents[2]
READY_SECONDS = 60.0
STOP_SECONDS = 10.0
"""On a machine that has time: one that needs longer than this to start everything may need as long to stop it."""


class LocalRun:
    """One home; ``start`` may be called again after it has ended. ``variables`` are added to the environment."""

    def __init__(self, folder: Path, **variables: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.home = Home(folder / "home")
        self.output = folder / "output.txt"
        with ExitStack() as taken:
            sockets = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in PROCESSES]
            self.ports = {name: one.getsockname()[1] for name, one in zip(PROCESSES, sockets, strict=True)}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KIZASHI_", "DEMO"))}
        ports = {f"KIZASHI_LOCAL_{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        self.environment = {**inherited, **ports, "KIZASHI_HOME": str(self.home.path), **variables}
        self.front: subprocess.Popen[bytes] | None = None
        self._said_before = 0
        self._began = 0.0
        self._start_took = 0.0

    def start(self) -> None:
        self._said_before = len(self.said())
        self._began, self._start_took = monotonic(), 0.0
        with self.output.open("ab") as output:
            self.front = subprocess.Popen(
                [sys.executable, "-m", "deploy.local", "run"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    async def ready(self) -> dict[str, Any]:
        """run.json, once the front says where to look."""

        async def told() -> dict[str, Any]:
            assert self.front is not None
            assert self.front.poll() is None, self.said()
            return (self.run_file() or {}) if "keys and addresses for scripts" in self.said_last_time() else {}

        found = await eventually(told, within_seconds=READY_SECONDS, what="the addresses")
        self._start_took = self._start_took or monotonic() - self._began
        return found

    def stop(self, number: int = signal.SIGINT) -> None:
        """In time; nothing may be left running."""
        assert self.front is not None
        began, limit = monotonic(), max(STOP_SECONDS, self._start_took)
        self.front.send_signal(number)
        assert self.front.wait(limit + 5) == 0, self.said()
        took = monotonic() - began
        assert took < limit, f"it took {took:.1f} s to stop"
        assert self.running() == []
        assert self.run_file() is None

    def run_file(self) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = json.loads(self.home.run_file.read_text())
            return found
        except FileNotFoundError:
            return None

    def pids(self) -> dict[str, int]:
        return dict((self.run_file() or {}).get("pids", {}))

    def said(self) -> str:
        return self.output.read_text(errors="replace") if self.output.exists() else ""

    def said_last_time(self) -> str:
        """Since the latest start."""
        return self.said()[self._said_before :]

    def refused(self, **variables: str) -> tuple[int, str]:
        """Exit status and words of a start that must not succeed."""
        result = self._command("run", **variables)
        return result.returncode, result.stderr

    def make_move(self, **variables: str) -> str:
        """What `make move` says."""
        result = self._command("move", **variables)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def make_stop(self) -> str:
        """What `make stop` says."""
        return self._command("stop").stdout

    def _command(self, what: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "deploy.local", what],
            cwd=ROOT,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=READY_SECONDS,
            check=False,
        )

    def kizashi(self, *words: str) -> str:
        """What the command line prints beside this run."""
        return subprocess.run(
            [sys.executable, "-m", "cli", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout

    def kill(self, name: str) -> int:
        """kill -9; the answer is the pid that it had."""
        pid = self.pids()[name]
        os.kill(pid, signal.SIGKILL)
        return pid

    async def comes_back(self, name: str, old_pid: int) -> int:
        async def is_back() -> int | None:
            pid = self.pids().get(name)
            return pid if pid not in (None, old_pid) else None

        return await eventually(is_back, within_seconds=20, what=f"{name} back") or 0

    def running(self) -> list[psutil.Process]:
        """Everything that was started for this home and still lives, PostgreSQL included."""
        marks = (str(self.home.path), *(f"_PORT={port}" for port in self.ports.values()))
        found = []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
                if process.status() != psutil.STATUS_ZOMBIE and marks[0] in words + _environment(process):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found


def _environment(process: psutil.Process) -> str:
    try:
        return " ".join(f"{name}={value}" for name, value in process.environ().items())
    except psutil.Error:
        return ""


@contextmanager
def local_run(folder: Path, **variables: str) -> Iterator[LocalRun]:
    """Whatever the test leaves running is ended; only what belongs to its home."""
    run = LocalRun(folder, **variables)
    try:
        yield run
    finally:
        if run.front is not None and run.front.poll() is None:
            run.front.terminate()
            try:
                run.front.wait(15)
            except subprocess.TimeoutExpired:
                run.front.kill()
        for process in run.running():
            process.kill()
