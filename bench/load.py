"""Load from wrk, which takes little CPU itself: a fixed number of connections, each with one request on its way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import secrets
import shutil
from asyncio.subprocess import PIPE
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

from bench.calls import batch, call, single
from bench.figures import NotMeasured
from libs.common.clock import wall_now
from libs.common.errors import NotStarted

SCRIPT = Path(__file__).parent / "wrk" / "calls.lua"
TIMEOUT_SECONDS = 10
CALLS = 5_000
"""Before their contents repeat; their ids never do."""


@dataclass(frozen=True)
class Load:
    """``connections`` that send requests of ``events`` calls each to ``path``."""

    path: str
    events: int
    connections: int

    def bodies(self) -> bytes:
        """One a line; in each, ``@`` stands for the request's name."""
        now = wall_now()
        calls = [call(number, f"@-{number % self.events}", now) for number in range(CALLS)]
        if self.events == 1:
            return b"\n".join(single(one) for one in calls)
        return b"\n".join(batch(calls[begin : begin + self.events]) for begin in range(0, CALLS, self.events))


@dataclass(frozen=True)
class Driven:
    """What wrk saw: ``requests`` were answered with 200 within ``seconds``. ``cpu_seconds`` are wrk's own."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_seconds: float

    @property
    def requests_per_s(self) -> float:
        return self.requests / self.seconds


def find_wrk() -> str:
    """Raises NotStarted."""
    if (found := shutil.which("wrk")) is None:
        raise NotStarted(
            "The bench's load comes from wrk, which this machine does not have; install it (on Debian: apt-get install "
            "wrk), or name with ONLY= scenarios that do without."
        )
    return found


@dataclass(frozen=True)
class Flooded:
    """``requests`` were answered within ``seconds``, ``refused`` of them with anything but 200."""

    requests: int
    refused: int
    seconds: float


async def drive(load: Load, url: str, write_key: str, seconds: int, folder: Path) -> Driven:
    """Raises NotMeasured when a request was refused, broken off or not answered."""
    before = _cpu_seconds_of_ended_children()
    seen = await _wrk(load, url, write_key, seconds, folder)
    failed = {what: seen[what] for what in ("refused", "broken", "late") if seen[what]}
    if failed or not seen["requests"]:
        counts = ", ".join(f"{count} {what}" for what, count in failed.items()) or "none was answered"
        raise NotMeasured(f"Of {seen['requests']} requests to {load.path} not all were answered with 200: {counts}.")
    return Driven(
        requests=seen["requests"],
        seconds=seen["microseconds"] / 1e6,
        p50_ms=seen["p50"] / 1e3,
        p99_ms=seen["p99"] / 1e3,
        cpu_seconds=_cpu_seconds_of_ended_children() - before,
    )


async def flood(load: Load, url: str, write_key: str, seconds: int, folder: Path) -> Flooded:
    """More than is taken. Raises NotMeasured when a request was broken off or not answered."""
    seen = await _wrk(load, url, write_key, seconds, folder)
    if seen["broken"] or seen["late"]:
        raise NotMeasured(f"Of a flood to {load.path} {seen['broken']} were broken off, {seen['late']} not answered.")
    return Flooded(requests=seen["requests"], refused=seen["refused"], seconds=seen["microseconds"] / 1e6)


async def _wrk(load: Load, url: str, write_key: str, seconds: int, folder: Path) -> dict[str, int]:
    """What wrk has seen, by the names of its script."""
    bodies = folder / f"bodies-{load.events}.jsonl"
    if not bodies.exists():
        bodies.write_bytes(load.bodies())
    login = b64encode(f"{write_key}:".encode()).decode()
    options = [
        "--threads=1",
        f"--connections={load.connections}",
        f"--duration={seconds}s",
        f"--timeout={TIMEOUT_SECONDS}s",
        f"--script={SCRIPT}",
        f"--header=Authorization: Basic {login}",
        "--header=Content-Type: application/json",
    ]
    said = await _said_by(find_wrk(), *options, url + load.path, "--", str(bodies), secrets.token_hex(4))
    seen: dict[str, int] = json.loads(said.splitlines()[-1])
    return seen


async def _said_by(*command: str) -> str:
    """What a command that ends well says. Raises NotMeasured when it does not."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise NotMeasured(f"{Path(command[0]).name} failed: {(err or out).decode().strip()[-400:]}")
    return out.decode()


def _cpu_seconds_of_ended_children() -> float:
    """Of which wrk is the only one to end while it runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
