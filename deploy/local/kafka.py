"""A real Apache Kafka broker on this machine: one Java process, loopback only, with its data in a folder of ours."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

import psutil

from deploy.local import leftovers
from deploy.local.kafka_jars import DEFAULT_FOLDER, fetch_jars, find_java
from deploy.local.kafka_properties import LOGGING, Guard, Ports, ports_in, properties
from libs.common.errors import NotStarted

READY_SECONDS = 60.0
FORMAT_SECONDS = 60.0
KILL_SECONDS = 2.0
"""Of the time that stopping may take, what is left for a broker that does not stop by itself in the rest."""
QUICK_START = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
HEAP = ("-Xms64m", "-Xmx320m")
UNASSIGNED_PORTS = range(20_000, 32_000)
"""Below those that systems give to outgoing connections: a broker that is down for a while finds its port free."""


@dataclass
class EmbeddedKafka:
    """A running broker. ``folder`` holds its data, its settings and its log."""

    folder: Path
    ports: Ports
    process: psutil.Process

    @property
    def url(self) -> str:
        return f"kafka://127.0.0.1:{self.ports.plain}"

    @property
    def guarded_url(self) -> str:
        """Of the listener with TLS and passwords, where one was asked for."""
        assert self.ports.guarded
        return f"kafka://127.0.0.1:{self.ports.guarded}"

    @property
    def log(self) -> Path:
        return log_of(self.folder)

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until_it_answers(self) -> None:
        """It listens to clients last, once it can serve them. Raises NotStarted, and ends it, when that does not
        happen."""
        deadline = monotonic() + READY_SECONDS
        wanted = [port for port in (self.ports.plain, self.ports.guarded) if port]
        try:
            while not all(_listens(port) for port in wanted):
                if not leftovers.runs(self.pid):
                    raise NotStarted(f"Kafka in {self.folder} does not start: {_last_words(self.log.read_text())}")
                if monotonic() > deadline:
                    raise NotStarted(f"Kafka is not ready after {READY_SECONDS:.0f} s; {self.log} says why.")
                sleep(0.02)
        except BaseException:
            self.kill()
            raise

    def stop(self, within_seconds: float = 8.0) -> None:
        """Stop in time: cleanly, else by force. A frozen broker can only be forced."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process.terminate()
        try:
            self.process.wait(max(0.1, within_seconds - KILL_SECONDS))
        except psutil.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """kill -9; returns when it is gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.process.kill()
            self.process.wait(KILL_SECONDS)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


def start(
    folder: Path,
    *,
    port: int = 0,
    guard: Guard | None = None,
    durable: bool = True,
    jars: Path = DEFAULT_FOLDER,
) -> EmbeddedKafka:
    """Start the broker of ``folder``, making its data first if they are new; returns when it answers.

    Takes about 2 seconds, 3 with new data, 4 after kill -9, and longer where the jars must be fetched first.
    ``port`` 0 means the port that it had, or a free one. A broker that an earlier, killed process left running is used
    as it is. ``guard`` counts where the data are made: it brings the users.
    Raises NotStarted with one sentence.
    """
    running = launch(folder, port=port, guard=guard, durable=durable, jars=jars)
    running.wait_until_it_answers()
    return running


def launch(
    folder: Path,
    *,
    port: int = 0,
    guard: Guard | None = None,
    durable: bool = True,
    jars: Path = DEFAULT_FOLDER,
) -> EmbeddedKafka:
    """As ``start``, without waiting for it to answer."""
    folder = folder.absolute()
    if "," in str(folder):
        raise NotStarted(f"Kafka takes a comma for the end of a folder's name, so {folder} cannot hold its data.")
    if (left := _serving(folder)) is not None:
        running = EmbeddedKafka(folder, ports_in(settings_of(folder).read_text()), left)
        if port in (0, running.ports.plain):
            return running
        running.stop()
    java = find_java()
    libraries = fetch_jars(jars)
    ports = _choose_ports(folder, port, guard)
    _write_settings(folder, ports, guard, durable)
    command = [
        java,
        *QUICK_START,
        *HEAP,
        f"-Dlog4j2.configurationFile={folder / 'log4j2.properties'}",
        "-cp",
        f"{libraries}/*",
    ]
    if not (folder / "data" / "meta.properties").exists():
        _format(command, folder, guard)
    return EmbeddedKafka(folder, ports, _spawn([*command, "kafka.Kafka", str(settings_of(folder))], log_of(folder)))


def stop_left_running(folder: Path) -> bool:
    """Stop the broker that a killed process of ours left running on ``folder``; whether there was one."""
    process = _serving(folder.absolute())
    if process is None:
        return False
    EmbeddedKafka(folder, Ports(0, 0), process).stop()
    return True


def settings_of(folder: Path) -> Path:
    """Also the mark by which the broker of this folder is told from every other process."""
    return folder / "server.properties"


def log_of(folder: Path) -> Path:
    return folder / "kafka.log"


def _serving(folder: Path) -> psutil.Process | None:
    """The process that serves ``folder``, whoever started it."""
    marks = {"kafka.Kafka", str(settings_of(folder))}
    for process in psutil.process_iter(["cmdline"]):
        if marks <= set(process.info["cmdline"] or ()):
            return process
    return None


def _choose_ports(folder: Path, port: int, guard: Guard | None) -> Ports:
    """Those that it had, as far as they are free still; else others. Raises NotStarted when ``port`` is taken."""
    try:
        before = ports_in(settings_of(folder).read_text())
    except FileNotFoundError:
        before = Ports(0, 0)
    if port and (problem := _taken(port)):
        raise NotStarted(
            f"Port {port} for Kafka cannot be had ({problem}); set KIZASHI_LOCAL_KAFKA_PORT to a free one."
        )
    chosen: set[int] = {port}

    def other(wanted: int) -> int:
        while not wanted or wanted in chosen or _taken(wanted):
            wanted = secrets.choice(UNASSIGNED_PORTS)
        chosen.add(wanted)
        return wanted

    return Ports(
        plain=port or other(before.plain),
        controller=other(before.controller),
        guarded=other(before.guarded) if guard is not None else 0,
    )


def _taken(port: int) -> str:
    """Why it cannot be had; nothing when it can."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as exc:
        return os.strerror(exc.errno) if exc.errno else str(exc)
    return ""


def _write_settings(folder: Path, ports: Ports, guard: Guard | None, durable: bool) -> None:
    keystore = folder / "keystore.pem"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings_of(folder).write_text(properties(ports, folder / "data", keystore, guard, durable))
        (folder / "log4j2.properties").write_text(LOGGING)
        if guard is not None:
            keystore.write_bytes(guard.key.read_bytes() + guard.certificate.read_bytes())
    except OSError as exc:
        raise NotStarted(f"Kafka's folder {folder} cannot be written ({exc.strerror}).") from exc


def _format(command: list[str], folder: Path, guard: Guard | None) -> None:
    """Make the data. What lies there without ``meta.properties`` was never served: its making was interrupted."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    tool = [*command, "kafka.tools.StorageTool", "format", f"--cluster-id={_new_cluster_id()}"]
    users = guard.scram if guard is not None else []
    try:
        subprocess.run(
            [*tool, "--config", str(settings_of(folder)), *users],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FORMAT_SECONDS,
            check=True,
        )
    except subprocess.SubprocessError as exc:
        said = exc.stderr if isinstance(exc, subprocess.CalledProcessError) else str(exc)
        raise NotStarted(f"Kafka cannot make its data in {folder}: {_last_words(said)}") from exc


def _new_cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _environment() -> dict[str, str]:
    """Ours, and one in which Java understands every name of a folder."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _spawn(command: list[str], log: Path) -> psutil.Process:
    """Detached: it outlives us when we are killed, and Ctrl-C does not reach it."""
    program = shutil.which(command[0])
    assert program is not None
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    return psutil.Process(os.posix_spawn(program, command, _environment(), file_actions=files, setsid=True))


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _last_words(text: str) -> str:
    """The end of what Java said, without its stack traces."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(("\t", " ", "Caused by"))]
    return " / ".join(lines[-2:])[-400:]
