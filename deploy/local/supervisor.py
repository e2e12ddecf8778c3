"""supervisord, which keeps the processes alive: its configuration, and what is asked of it over a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import subprocess
import sys
import tempfile
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil
from supervisor.xmlrpc import SupervisorTransport

from deploy.local.home import Home

ROOT = Path(__file__).parents[2]
GROUP = "kizashi"
STOP_SECONDS = 5
"""What a process gets between SIGTERM and SIGKILL; less than it gets in production, since a person is waiting."""
LONGEST_SOCKET_PATH = 100

_HEAD = """\
[unix_http_server]
file={socket}
chmod=0600

[supervisord]
nodaemon=true
silent=true
logfile={logs}/supervisord.log
pidfile={home}/supervisord.pid
childlogdir={logs}
umask=077

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[group:{group}]
programs={programs}
"""
# startsecs=0 lets exit status 2 (a sentence for the operator) end a program at once instead of being tried again;
# one group lets all be stopped at the same time.
_PROGRAM = """
[program:{name}]
command={command}
directory={root}
autostart=true
autorestart=unexpected
exitcodes=2
startsecs=0
stopsignal=TERM
stopwaitsecs={stop_seconds}
stdout_logfile={logs}/{name}.log
redirect_stderr=true
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=2
"""


@dataclass(frozen=True)
class Program:
    name: str
    command: Sequence[str]


@dataclass(frozen=True)
class Process:
    """``exit_status`` is that of the last run, None while it runs or has never run."""

    name: str
    pid: int | None
    exit_status: int | None


def write_configuration(home: Home, socket: Path, programs: Sequence[Program]) -> Path:
    text = _HEAD.format(
        socket=_escaped(socket),
        logs=_escaped(home.logs),
        home=_escaped(home.path),
        group=GROUP,
        programs=",".join(program.name for program in programs),
    )
    for program in programs:
        text += _PROGRAM.format(
            name=program.name,
            command=_escaped(shlex.join(program.command)),
            root=_escaped(ROOT),
            stop_seconds=STOP_SECONDS,
            logs=_escaped(home.logs),
        )
    path = home.path / "supervisord.conf"
    path.write_text(text)
    return path


def _escaped(text: object) -> str:
    return str(text).replace("%", "%%")


class Supervisor:
    """A running supervisord, our child, in a session of its own so that Ctrl-C reaches only us."""

    def __init__(self, home: Home, programs: Sequence[Program], environment: Mapping[str, str]) -> None:
        self._socket = home.path / "supervisor.sock"
        if len(str(self._socket)) > LONGEST_SOCKET_PATH:
            self._socket = Path(tempfile.mkdtemp(prefix="kizashi-")) / "supervisor.sock"
        configuration = write_configuration(home, self._socket, programs)
        self._child = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
            env=dict(environment),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def ended(self) -> bool:
        return self._child.poll() is not None

    async def processes(self) -> list[Process] | None:
        """Every program as it is now; None when supervisord does not answer (yet)."""
        found = await self._ask("getAllProcessInfo")
        if found is None:
            return None
        return [
            Process(
                name=one["name"],
                pid=one["pid"] or None,
                exit_status=one["exitstatus"] if one["stop"] and not one["pid"] else None,
            )
            for one in found
        ]

    async def stop_program(self, name: str) -> None:
        """Returns when it has ended."""
        await self._ask("stopProcess", f"{GROUP}:{name}", True)

    async def stop(self, seconds: float) -> bool:
        """Stop every program and supervisord itself; whether that was done in time."""
        if self.ended:
            return True
        self._child.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self._child.wait, seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """supervisord and all that it has running, also what it started a moment ago."""
        self._child.send_signal(signal.SIGSTOP)  # from here on it starts nothing
        programs = psutil.Process(self._child.pid).children(recursive=True)
        self._child.kill()
        self._child.wait()
        for program in programs:
            with contextlib.suppress(psutil.NoSuchProcess):
                program.kill()

    async def _ask(self, method: str, *arguments: object) -> Any:
        def ask() -> Any:
            transport = SupervisorTransport(None, None, f"unix://{self._socket}")
            try:
                with xmlrpc.client.ServerProxy("http://supervisor", transport=transport) as server:
                    return getattr(server.supervisor, method)(*arguments)
            except (OSError, HTTPException, xmlrpc.client.Error):
                return None

        return await asyncio.to_thread(ask)


def said_last(log: Path) -> str:
    """The last line that is meant for people: services log JSON and end with a sentence."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return next((line for line in reversed(lines) if line.strip() and not line.startswith("{")), "")
