"""The paths that take events, in front of the FastAPI application and of what it wraps around every other route.

Of the CPU time of a single call a third went into middlewares, exit stacks and routing, each with its own look at the
headers, that these paths have no use for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from libs.common.asgi import count_answer, request_id_of, unforeseen
from libs.common.http_connection import BODY_IS_HERE
from libs.common.http_writing import ANSWER_AT_ONCE, AnswerAtOnce
from libs.common.observability import REQUEST_ID
from services.ingest.bodies import ClientLeft
from services.ingest.collector import ALL_TAKEN
from services.ingest.cors import cors_headers
from services.ingest.paths import PATHS, Incoming, Meaning

Collect = Callable[[Incoming], Awaitable[bytes]]
"""A request in, what a 200 says out."""
Handlers = Mapping[Any, Any]
"""The application's own, each by the class of the exception that it answers."""
Answer = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers and body."""


class HotPaths:
    """POST to one of ``paths`` goes there at once, everything else to ``others``."""

    def __init__(self, paths: Sequence[HotPath], others: ASGIApp) -> None:
        self._paths = {one.path: one for one in paths}
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and (hot := self._paths.get(scope["path"])):
            await hot(scope, receive, send)
        else:
            await self._others(scope, receive, send)


class HotPath:
    """One path as an application of its own: it answers as every other route does, with the same request ids, CORS
    headers, counts and bodies of errors."""

    def __init__(self, path: str, meaning: Meaning, collect: Collect, handlers: Handlers) -> None:
        self.path = path
        self._meaning = meaning
        self._collect = collect
        self._handlers = handlers

    def as_route(self) -> Route:
        """For the application, so that it knows what it is to refuse other methods than POST."""
        return _NamedRoute(self.path, endpoint=self, methods=["POST"], include_in_schema=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = request_id_of(headers.get(b"x-request-id", b""))
        named = REQUEST_ID.set(request_id.decode())
        status = 0
        try:
            incoming = Incoming(self._meaning, headers, scope["query_string"], receive, BODY_IS_HERE in scope)
            status, answer_headers, body = await self._answer(incoming, scope)
            answer_headers += [*cors_headers(headers.get(b"origin")), (b"x-request-id", request_id)]
            at_once: AnswerAtOnce | None = scope.get(ANSWER_AT_ONCE)
            if at_once is None or not at_once(status, answer_headers, body):
                await send({"type": "http.response.start", "status": status, "headers": answer_headers})
                await send({"type": "http.response.body", "body": body})
        except ClientLeft:
            pass
        finally:
            REQUEST_ID.reset(named)
            count_answer("POST", self.path, status, perf_counter() - began)

    async def _answer(self, incoming: Incoming, scope: Scope) -> Answer:
        """Raises ClientLeft."""
        try:
            body = await self._collect(incoming)
        except ClientLeft:
            raise
        except Exception as exc:
            response = await self._answer_to(exc, Request(scope))
            return response.status_code, response.raw_headers, bytes(response.body)
        return success(self._meaning, body)

    async def _answer_to(self, exc: Exception, request: Request) -> Response:
        for kind in type(exc).__mro__:
            if (handler := self._handlers.get(kind)) is not None:
                response: Response = await handler(request, exc)
                return response
        return unforeseen(self.path, exc)


class _NamedRoute(Route):
    """Says in the scope which route it is, as FastAPI's own do: by that a refused method is counted."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, found = super().matches(scope)
        return match, found if match is Match.NONE else {**found, "route": self}


def success(meaning: Meaning, body: bytes) -> Answer:
    """What has to be said about rejected events is said with 200 everywhere."""
    if body is ALL_TAKEN and meaning.status == 204:
        return 204, [], b""
    return 200, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))], body


def hot_paths(collect: Collect, handlers: Handlers) -> list[HotPath]:
    """With and without a slash at the end."""
    return [HotPath(path + slash, meaning, collect, handlers) for path, meaning in PATHS.items() for slash in ("", "/")]
