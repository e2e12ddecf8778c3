"""Around every route of every service, in plain ASGI: request ids, the count of answers, a limit on bodies.

Plain, because Starlette's BaseHTTPMiddleware leaks connections when a request is cancelled.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from random import Random
from time import perf_counter

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common.error_answers import BodyTooLarge, error_response
from libs.common.observability import REGISTRY, REQUEST_ID, Counter, Histogram, get_logger

logger = get_logger(__name__)

_requests = Counter("kizashi_http_requests_total", "Answers given", ["method", "route", "status"], registry=REGISTRY)
_seconds = Histogram("kizashi_http_request_seconds", "Time to the end of the answer", ["route"], registry=REGISTRY)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ids = Random()  # noqa: S311 - they tell requests apart; nobody gains by guessing one
_SENSIBLE = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def request_id_of(sent: bytes) -> bytes:
    """The caller's own when it sent a sensible one."""
    return sent if sent and _SENSIBLE.fullmatch(sent) else b"%032x" % _ids.getrandbits(128)


def count_answer(method: str, route: str, status: int, seconds: float) -> None:
    """``status`` 0: there was nobody to answer any more. A slash at the end of a route makes no other one of it."""
    answers, times = _counted_by(method if method in _METHODS else "other", route, status)
    answers.inc()
    times.observe(seconds)


@lru_cache(maxsize=1024)
def _counted_by(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Remembered: finding them takes longer than counting."""
    route = route.rstrip("/") or "/"
    return _requests.labels(method, route, str(status)), _seconds.labels(route)


def unforeseen(path: str, exc: Exception) -> Response:
    """The answer to what nobody foresaw."""
    logger.error("unhandled", path=path, exc_info=exc)
    return error_response(
        500, "internal_error", "This is a defect of Kizashi; the log line with this request id has the details."
    )


class RequestId:
    """Gives every request an id, in its log lines and as X-Request-Id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = request_id_of(sent)

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", []).append((b"x-request-id", request_id))
            await send(message)

        bound = REQUEST_ID.set(request_id.decode())
        try:
            await self._app(scope, receive, with_id)
        finally:
            REQUEST_ID.reset(bound)


class Outcomes:
    """Counts and times the answers by route, and answers 500 for an exception that nobody foresaw.

    Not Starlette's own handler of such exceptions: that one stands outside of every other middleware, so its
    answers would lack their headers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as exc:
            answer = unforeseen(scope["path"], exc)
            if status:
                raise  # half an answer is out; the server cuts the connection so that nobody takes it for whole
            await answer(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            count_answer(scope["method"], route, status, perf_counter() - began)


class BodyLimit:
    """Refuses a body by the bytes that really arrive; a chunked one announces no length.

    Paths in ``except_paths`` have limits of their own.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, except_paths: Collection[str] = ()) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._except_paths = frozenset(except_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._except_paths:
            await self._app(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise BodyTooLarge(self._max_bytes)
            return message

        await self._app(scope, counted, send)
