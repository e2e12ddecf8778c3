"""A headless Chromium, told over its DevTools protocol which pages to open, and asked what they did."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from libs.common.testing import eventually

ANSWERS_WITHIN_SECONDS = 30
OPTIONS = [
    "--remote-debugging-port=0",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-features=Translate,OptimizationHints,MediaRouter,InterestFeedContentSuggestions",
    # A page that nobody looks at keeps its timers: the retries of several are waited for at once.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    # Whatever a library would fetch from elsewhere fails, as behind a customer's firewall.
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]


@dataclass
class Exchange:
    """A request that left a page, or its preflight, in seconds of the browser's clock; no ``status``: no answer yet."""

    method: str
    url: str
    asked_at: float
    answered_at: float = 0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def running(command: Sequence[str]) -> Iterator[str]:
    """A browser with a profile of its own; gives the address of its DevTools."""
    home = Path(tempfile.mkdtemp(prefix="kizashi-chromium-"))
    with (home / "stderr").open("wb") as complaints:
        process = subprocess.Popen(
            [*command, *OPTIONS, f"--user-data-dir={home}"],
            stdin=subprocess.DEVNULL,
            stdout=complaints,
            stderr=complaints,
            process_group=0,
        )
    port_file = home / "DevToolsActivePort"

    async def listening() -> list[str]:
        assert process.poll() is None, (home / "stderr").read_text()
        lines = port_file.read_text().splitlines() if port_file.exists() else []
        return lines if len(lines) == 2 else []

    try:
        port, path = asyncio.run(eventually(listening, within_seconds=30, what="Chromium's DevTools"))
        yield f"ws://127.0.0.1:{port}{path}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(home, ignore_errors=True)


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Chromium]:
    """Whatever is opened here ends with the connection, storage included."""
    async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
        chromium = Chromium(socket)
        listening = asyncio.create_task(chromium.listen())
        try:
            yield chromium
        finally:
            for task in (listening, *chromium.background):
                task.cancel()
            await asyncio.gather(listening, *chromium.background, return_exceptions=True)


class Chromium:
    """One connection to a browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self.background: list[asyncio.Task[dict[str, Any]]] = []

    async def open(self, url: str) -> Page:
        """A page that shares no storage with others, when it has loaded."""
        context = await self.ask("Target.createBrowserContext", disposeOnDetach=True)
        target = await self.ask("Target.createTarget", url="about:blank", browserContextId=context["browserContextId"])
        attached = await self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[attached["sessionId"]] = Page(self, attached["sessionId"], target["targetId"])
        for domain in ("Network", "Page", "Runtime"):
            await page.ask(f"{domain}.enable")
        await page.ask("Page.setLifecycleEventsEnabled", enabled=True)
        await page.show(url)
        return page

    async def ask(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(message | ({"sessionId": session} if session else {}))
        async with asyncio.timeout(ANSWERS_WITHIN_SECONDS):
            said = await answer
        assert "error" not in said, f"{method}: {said['error']}"
        result: dict[str, Any] = said["result"]
        return result

    async def listen(self) -> None:
        async for frame in self._socket:
            said = frame.json()
            if "id" in said:
                answer = self._waiting.pop(said["id"])
                if not answer.done():  # nobody waits for it any more
                    answer.set_result(said)
            elif page := self._pages.get(said.get("sessionId", "")):
                page.note(said["method"], said["params"])


@dataclass
class Page:
    """``exchanges`` are in the order of their sending; ``errors`` is what its console shows in red."""

    chromium: Chromium
    session: str
    target: str
    errors: list[str] = field(default_factory=list)
    _sent: dict[str, Exchange] = field(default_factory=dict)
    _loaded: set[str] = field(default_factory=set)
    _loses: bool = False

    @property
    def exchanges(self) -> list[Exchange]:
        return list(self._sent.values())

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self.chromium.ask(method, session=self.session, **parameters)

    async def show(self, url: str) -> None:
        """Returns when it has loaded."""
        went = await self.ask("Page.navigate", url=url)
        assert "errorText" not in went, f"{url}: {went['errorText']}"

        async def loaded() -> bool:
            return went["loaderId"] in self._loaded

        await eventually(loaded, within_seconds=ANSWERS_WITHIN_SECONDS, what=f"loading {url}")

    async def run(self, script: str) -> Any:
        """What an expression gives, awaited if it is a promise."""
        said = await self.ask("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in said, f"{script}: {said['exceptionDetails']}"
        return said["result"].get("value")

    async def lose_an_answer(self, address: str) -> None:
        """The next POST to ``address`` reaches it, and what it answers does not come back."""
        self._loses = True
        await self.ask("Fetch.enable", patterns=[{"urlPattern": f"{address}/*", "requestStage": "Response"}])

    async def close(self) -> None:
        """As somebody closes a tab; what it still has to send leaves with keepalive or as a beacon, or not at all."""
        await self.chromium.ask("Target.closeTarget", targetId=self.target)

    def note(self, event: str, about: dict[str, Any]) -> None:
        match event:
            case "Page.lifecycleEvent" if about["name"] == "load":
                self._loaded.add(about["loaderId"])
            case "Network.requestWillBeSent":
                request = about["request"]
                self._sent[about["requestId"]] = Exchange(request["method"], request["url"], about["timestamp"])
            case "Network.responseReceived" if about["requestId"] in self._sent:
                exchange, response = self._sent[about["requestId"]], about["response"]
                exchange.answered_at = about["timestamp"]
                exchange.status = response["status"]
                exchange.headers = {name.lower(): value for name, value in response["headers"].items()}
            case "Fetch.requestPaused" if self._loses and about["request"]["method"] == "POST":
                self._loses = False
                self._tell("Fetch.failRequest", requestId=about["requestId"], errorReason="ConnectionReset")
            case "Fetch.requestPaused":
                self._tell("Fetch.continueRequest", requestId=about["requestId"])
            case "Runtime.exceptionThrown":
                details = about["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description") or details["text"])
            case "Runtime.consoleAPICalled" if about["type"] == "error":
                self.errors.append(" ".join(str(part.get("value", part.get("description"))) for part in about["args"]))

    def _tell(self, method: str, **parameters: Any) -> None:
        """Without waiting: who listens to events cannot hear an answer meanwhile."""
        self.chromium.background.append(asyncio.create_task(self.ask(method, **parameters)))
