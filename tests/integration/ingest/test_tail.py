"""`kizashi tail`, as somebody calls it who connects a product: what arrives is seen, and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.common.testing import eventually, free_port
from tests.conftest import TestDatabase
from tests.integration.ingest.conftest import Start, Tenant

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text()

AT = {"timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
STORY: list[tuple[str, Any]] = [
    ("group", {**AT, "userId": "user-7", "groupId": "customer-42"}),
    ("track", {**AT, "userId": "user-7", "event": "Report Exported"}),
    ("track", {**AT, "groupId": "customer-42", "event": "Invoice Paid"}),
    ("track", {"userId": "user-8", "event": "Report Exported"}),
    ("track", {**AT, "userId": "user-7", "messageId": "m-5"}),
    ("batch", [{"userId": "user-7"}]),
]
"""What the page of operations shows, call by call."""


class Tail:
    """A running `kizashi tail`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 20)).decode().rstrip("\n")

    async def lines(self, number: int) -> list[str]:
        return [await self.line() for _ in range(number)]

    async def complaint(self) -> str:
        assert self.process.stderr is not None
        return (await asyncio.wait_for(self.process.stderr.readline(), 20)).decode().rstrip("\n")

    def leave(self) -> None:
        """As `head` does when it has enough."""
        assert self.process.stdout is not None
        self.process.stdout._transport.close()  # type: ignore[attr-defined]

    async def ended(self) -> tuple[int, str, str]:
        """Exit status, and what was left to be read."""
        out, err = await asyncio.wait_for(self.process.communicate(), 20)
        assert self.process.returncode is not None
        return self.process.returncode, out.decode(), err.decode()


Follow = Callable[..., Coroutine[Any, Any, Tail]]


@pytest.fixture
async def tail(tenant: Tenant, tmp_path: Path) -> AsyncIterator[Follow]:
    """Starts `kizashi` with these words, else `kizashi tail`; ``ingest`` and ``health`` are addresses."""
    started: list[asyncio.subprocess.Process] = []
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KIZASHI_")}

    async def one(*words: str, ingest: str, health: str = "") -> Tail:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "cli",
            *(words or ("tail",)),
            cwd=ROOT,
            env={
                **clean,
                "KIZASHI_HOME": str(tmp_path),
                "KIZASHI_CLI_API_KEY": tenant.api_key,
                "KIZASHI_CLI_INGEST_URL": ingest,
                "KIZASHI_CLI_HEALTH_URL": health or f"http://127.0.0.1:{free_port()}",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(process)
        return Tail(process)

    yield one
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def health(database: TestDatabase) -> AsyncIterator[str]:
    """The address of a health process."""
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KIZASHI_")}
    ours = {
        "KIZASHI_DATABASE_URL": database.url,
        "KIZASHI_HEALTH_PORT": str(port),
        "KIZASHI_CONFIG_DIR": str(ROOT / "config"),
        "KIZASHI_LOGGING_LEVEL": "error",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.health", env=clean | ours, cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient() as client:

        async def ready() -> bool:
            assert process.returncode is None, "it ended"
            try:
                return (await client.get(f"{url}/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(ready, within_seconds=20, what="health being ready")
    yield url
    process.kill()
    await process.wait()


async def send(url: str, tenant: Tenant, path: str, body: Any) -> int:
    async with httpx.AsyncClient(base_url=url, headers=tenant.writer) as client:
        return (await client.post(f"/v1/{path}", json=body)).status_code


def without_times(lines: list[str]) -> list[str]:
    return [re.sub(r"^\d\d:\d\d:\d\d", "hh:mm:ss", line) for line in lines]


async def test_what_arrives_is_shown_as_the_page_of_operations_says(
    start: Start, health: str, tail: Follow, tenant: Tenant
) -> None:
    running = await start()
    follower = await tail(ingest=running.url, health=health)
    assert (await follower.complaint()).startswith("Nothing has arrived lately; waiting.")
    for path, body in STORY:
        await send(running.url, tenant, path, body)
    shown = await follower.lines(len(STORY))
    [page] = re.findall(r"## Did my event arrive\?.*?```\n\$ kizashi tail\n(.*?)```", PAGE, re.DOTALL)
    assert sorted(without_times(shown)) == sorted(without_times(page.splitlines()))
    follower.process.send_signal(signal.SIGINT)
    assert await follower.ended() == (0, "", "\n")

    # Group calls that are not among the last hundred any more are known from health.
    pages = [{"type": "page", "name": "Docs", "userId": "user-7", "messageId": f"m{number}"} for number in range(100)]
    await send(running.url, tenant, "batch", {"batch": pages})

    async def pushed_out() -> bool:
        asked = await tail("tail", "--no-follow", "--json", ingest=running.url, health=health)
        status, out, _ = await asked.ended()
        taken = [one for one in map(json.loads, out.splitlines()) if one["taken"]]
        by_health = [(one["account"], one["rule"]) for one in taken if one["kind"] == "page"]
        return (status, len(taken), by_health) == (0, 100, [("customer-42", "the user's group call")] * 100)

    await eventually(pushed_out, within_seconds=20, what="a hundred pages of one account")
    status, told, _ = await (
        await tail("sources", "show", str(tenant.source), ingest=running.url, health=health)
    ).ended()
    assert (status, "100 of the last 100 track, page and screen calls name no account" in told) == (0, True)
    assert "Health knows earlier group calls of all of these users" in told
    assert "→ Call group(userId, accountId) once" in told


async def test_what_does_not_answer_is_waited_for_and_who_leaves_is_let_go(
    start: Start, tail: Follow, tenant: Tenant
) -> None:
    port = str(free_port())
    running = await start(KIZASHI_INGEST_PORT=port)
    await send(running.url, tenant, "batch", {"batch": [{"type": "track"}] * 40})
    async with httpx.AsyncClient(base_url=running.url, headers=tenant.admin) as client:

        async def written() -> bool:
            return len((await client.get(f"/v1/sources/{tenant.source}/rejects")).json()["rejects"]) == 40

        await eventually(written, what="forty rejects")
    follower = await tail(ingest=running.url)
    assert all(" refused missing_event: event " in line for line in await follower.lines(10))
    await send(running.url, tenant, "track", {"event": "first", "userId": "u"})
    assert "no account: not known: health, which knows the group calls, does not answer" in await follower.line()
    running.process.kill()
    await running.process.wait()
    assert "ingest does not answer at" in await follower.complaint()
    again = await start(KIZASHI_INGEST_PORT=port)
    assert await follower.complaint() == "It answers again."
    await send(again.url, tenant, "track", {"event": "second", "userId": "u"})
    assert "track second" in await follower.line()
    follower.leave()
    await send(again.url, tenant, "track", {"event": "third", "userId": "u"})
    assert await follower.ended() == (1, "", "")
    async with httpx.AsyncClient(base_url=again.url, headers=tenant.admin) as client:
        await client.post("/v1/sources", json={"name": "other"})
    _, told, _ = await (await tail("tail", "--no-follow", ingest=again.url)).ended()
    assert re.search(r"^\S+  app +track second ", told, re.MULTILINE), "with two sources, lines say which"
    _, told, _ = await (await tail("tail", "--source", "app", "--no-follow", ingest=again.url)).ended()
    assert re.search(r"^\S+  track second ", told, re.MULTILINE), "with one source, named, lines need not"
    missing = await tail("tail", "--source", str(tenant.source + 99), ingest=again.url)
    status, _, told = await missing.ended()
    assert (status, "There is no source" in told, "Traceback" in told) == (1, True, False)
