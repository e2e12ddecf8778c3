"""The paths that take events, in front of the FastAPI application and what it wraps around every route.

Of the CPU time of a single call a fifth went into middlewares, exit stacks and routing that they have no use for.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from libs.common.asgi import Outcomes, RequestId
from services.ingest.cors import Cors


class HotPaths:
    """POST to one of ``routes`` goes there at once, everything else to ``app``. Both answer alike: with the same error
    handlers, request ids, counts and CORS. To be made when ``app`` has all of its handlers."""

    def __init__(self, app: FastAPI, routes: Sequence[Route]) -> None:
        self._others = app
        self._routes = {route.path: route for route in routes}
        self._hot = Cors(RequestId(Outcomes(ExceptionMiddleware(self._handle, app.exception_handlers))))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in self._routes:
            await self._hot(scope, receive, send)
        else:
            await self._others(scope, receive, send)

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._routes[scope["path"]].handle(scope, receive, send)
