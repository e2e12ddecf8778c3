"""How a service process starts, waits, dies and stops, seen from outside."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest

from libs.common.testing import eventually

Process = asyncio.subprocess.Process
Start = Callable[[str], Coroutine[Any, Any, Process]]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def note(tmp_path: Path) -> Path:
    return tmp_path / "note"


@pytest.fixture
async def start(port: int, note: Path) -> AsyncIterator[Start]:
    started: list[Process] = []

    async def one(behaviour: str) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.sample_service",
            str(port),
            behaviour,
            str(note),
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return process

    yield one
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def words_of(note: Path) -> str:
    return note.read_text()


def make(note: Path) -> None:
    note.touch()


async def answers(port: int, path: str = "/readyz") -> httpx.Response | None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        try:
            return await client.get(path, timeout=5)
        except httpx.TransportError:
            return None


async def ready(port: int) -> bool:
    answer = await answers(port)
    return answer is not None and answer.status_code == 200


async def ended(process: Process) -> tuple[int, str]:
    _, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode is not None
    return process.returncode, errors.decode()


async def test_a_stop_finishes_requests_and_work_and_then_closes(start: Start, port: int, note: Path) -> None:
    process = await start("works")
    await eventually(lambda: ready(port), what="readiness")
    request = asyncio.create_task(answers(port, "/slow"))
    await asyncio.wait({request}, timeout=0.3)
    began = monotonic()
    process.send_signal(signal.SIGTERM)
    status, _ = await ended(process)
    answer = await request
    assert status == 0
    assert answer is not None
    assert answer.json() == {"slow": True}
    assert words_of(note) == "finished closed"
    assert monotonic() - began < 5


async def test_it_serves_its_probes_while_it_waits_for_what_it_opens(start: Start, port: int, note: Path) -> None:
    await start("waits")
    await eventually(lambda: answers(port, "/livez"), what="an answer")
    waiting, live = await answers(port), await answers(port, "/livez")
    assert waiting is not None
    assert live is not None
    assert (waiting.status_code, waiting.json()["problems"]) == (503, ["still starting"])
    assert live.status_code == 200
    make(note)
    await eventually(lambda: ready(port), what="readiness")


async def test_a_stop_ends_the_waiting(start: Start, port: int) -> None:
    process = await start("waits")
    await eventually(lambda: answers(port, "/livez"), what="an answer")
    process.send_signal(signal.SIGINT)
    assert (await ended(process))[0] == 0


async def test_a_port_in_use_is_one_sentence(start: Start, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        status, errors = await ended(await start("works"))
    assert status == 2
    assert errors == (
        f"sample cannot listen on 127.0.0.1:{port} (Address already in use); "
        "free the port, or set KIZASHI_SAMPLE_PORT or KIZASHI_HOST.\n"
    )


@pytest.mark.parametrize("behaviour", ["refuses", "refuses later"])
async def test_what_cannot_start_says_why_in_one_sentence(start: Start, behaviour: str) -> None:
    status, errors = await ended(await start(behaviour))
    assert status == 2
    assert [line for line in errors.splitlines() if line.startswith("The sample ")]
    assert "Traceback" not in errors


async def test_work_that_dies_ends_the_process(start: Start, note: Path) -> None:
    status, errors = await ended(await start("dies"))
    assert status == 1
    assert "the work is undoable" in errors
    assert words_of(note) == " closed"


@pytest.mark.parametrize(("behaviour", "says"), [("hangs", "stopped_late"), ("clings", "stop_cut_off")])
async def test_work_that_never_ends_is_cut_off(start: Start, port: int, note: Path, behaviour: str, says: str) -> None:
    """Also where it cannot even be cancelled, as a driver that waits for a frozen server."""
    process = await start(behaviour)
    await eventually(lambda: ready(port), what="readiness")
    began = monotonic()
    process.send_signal(signal.SIGTERM)
    status, errors = await ended(process)
    assert status == 0
    assert says in errors
    assert words_of(note) == " closed"
    assert monotonic() - began < 20
