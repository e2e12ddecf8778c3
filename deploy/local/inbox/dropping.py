"""A web server's connection that the application may cut without an answer, as a failing network does."""

from __future__ import annotations

import asyncio
from typing import cast

from starlette.requests import Request
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_EXTENSION = "kizashi.connection"


class DroppableConnection(HttpToolsProtocol):
    """For ``uvicorn.Config(http=…)``: hands each request the transport that it came through."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {_EXTENSION: {"transport": self.transport}}


async def drop(request: Request) -> None:
    """Cut the connection; returns once it is gone, after which nothing can be answered any more."""
    transport = cast(asyncio.Transport, request.scope["extensions"][_EXTENSION]["transport"])
    transport.abort()
    await gone(request)


async def gone(request: Request) -> None:
    """Wait until the client has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
