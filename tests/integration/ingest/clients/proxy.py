"""Stands between clients and ingest: counts what each client asks, and makes the trouble that a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic

from aiohttp import ClientError, ClientSession, web

HOP_BY_HOP = frozenset({"host", "connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass(frozen=True)
class Asked:
    """A request as it left the client; ``path`` with its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


Forward = Callable[[Asked], Awaitable[Answer | None]]
"""None when ingest closed the connection or was not there."""
Trouble = Callable[[int, Asked, Forward], Awaitable[Answer | None]]
"""What becomes of the nth request, from 1 on; None cuts the client's connection."""


async def no_trouble(_nth: int, asked: Asked, forward: Forward) -> Answer | None:
    return await forward(asked)


@dataclass(frozen=True)
class Seen:
    """One request and what became of it, by a monotonic clock; ``answer`` None where the connection was cut."""

    asked_at: float
    answered_at: float
    answer: Answer | None


@dataclass
class Way:
    """A base address for one client."""

    url: str
    trouble: Trouble
    asked: int = 0
    seen: list[Seen] = field(default_factory=list)

    @property
    def told(self) -> list[int | None]:
        return [seen.answer.status if seen.answer else None for seen in self.seen]


class Proxy:
    """``target`` is the base address that everything is forwarded to; it may change meanwhile."""

    def __init__(self) -> None:
        self.target = ""
        self._ways: dict[str, Way] = {}
        self._url = ""
        self._session: ClientSession

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Proxy]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{way}/{path:.*}", self._handle)
        runner = web.AppRunner(app, auto_decompress=False, access_log=None)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self._url = "http://{}:{}".format(*runner.addresses[0])
            async with ClientSession(auto_decompress=False) as self._session:
                yield self
        finally:
            await runner.cleanup()

    def way(self, name: str, trouble: Trouble = no_trouble) -> Way:
        """A new address; nothing of it reaches ingest but what follows its first part."""
        self._ways[name] = Way(f"{self._url}/{name}", trouble)
        return self._ways[name]

    async def _handle(self, request: web.Request) -> web.Response:
        way = self._ways[request.match_info["way"]]
        asked_at = monotonic()
        way.asked += 1
        asked = Asked(
            method=request.method,
            path=request.path_qs.removeprefix("/" + request.match_info["way"]),
            headers={name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP},
            body=await request.read(),
        )
        answer = await way.trouble(way.asked, asked, self._forward)
        way.seen.append(Seen(asked_at, monotonic(), answer))
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def _forward(self, asked: Asked) -> Answer | None:
        try:
            async with self._session.request(
                asked.method,
                self.target + asked.path,
                data=asked.body,
                headers=asked.headers,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            ) as answer:
                headers = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
                return Answer(answer.status, headers, await answer.read())
        except ClientError:
            return None
