"""What an earlier, killed start left running: recognised by process id and starting time, and ended.

Only what our own home's file names is ever touched; a number that another process has got since is not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import psutil

from deploy.local.home import Home, read_json, write_private

FIRST = "supervisord"
"""Ended before the others: it would start them again."""
WAIT_SECONDS = 7.0
SAME_START_SECONDS = 2.0
"""Starting times are counted from when the machine started, which a corrected clock moves a little."""


def remember(home: Home, pids: Mapping[str, int]) -> None:
    """Write down who was started from this home."""
    known: dict[str, Any] = {}
    for name, pid in pids.items():
        try:
            known[name] = {"pid": pid, "started": psutil.Process(pid).create_time()}
        except psutil.NoSuchProcess:
            continue
    write_private(home.processes_file, known)


def end_leftovers(home: Home) -> list[str]:
    """End what still runs; the answer is the names of what did. Takes at most about 16 seconds, usually none."""
    known = read_json(home.processes_file) or {}
    running = {name: process for name, one in known.items() if (process := _same(one)) is not None}
    first = [process for name, process in running.items() if name == FIRST]
    _end(first)
    _end([process for name, process in running.items() if name != FIRST])
    home.processes_file.unlink(missing_ok=True)
    return sorted(running)


def _same(one: Mapping[str, Any]) -> psutil.Process | None:
    try:
        process = psutil.Process(one["pid"])
        same = abs(process.create_time() - one["started"]) < SAME_START_SECONDS
        return process if same and runs(process.pid) else None
    except (psutil.NoSuchProcess, KeyError):
        return None


def runs(pid: int) -> bool:
    """Whether there is such a process and it has not ended; one that nobody has reaped has."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        _signal(process.terminate)
    _, stubborn = psutil.wait_procs(processes, timeout=WAIT_SECONDS)
    for process in stubborn:
        _signal(process.kill)
    psutil.wait_procs(stubborn, timeout=1)


def _signal(send: Any) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        send()
