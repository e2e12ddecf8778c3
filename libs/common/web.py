"""What every service's HTTP side shares: error bodies, body limits, request ids, probes, metrics, callers."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from libs.common.api_keys import Principal, Scope, authenticate
from libs.common.db import Database
from libs.common.errors import Refused, RetryLater
from libs.common.observability import REGISTRY, get_logger

logger = get_logger(__name__)

Check = Callable[[], Awaitable[str | None]]
"""A readiness check: None when fine, else a sentence that says what is missing."""


@dataclass
class Probes:
    """``live`` looks only at our own progress, never at a dependency; ``ready`` at everything."""

    live: list[Check] = field(default_factory=list)
    ready: list[Check] = field(default_factory=list)
    stopping: bool = False

    async def problems(self, checks: Sequence[Check]) -> list[str]:
        return [problem for check in checks if (problem := await check())]


def error_body(code: str, message: str, **details: object) -> dict[str, object]:
    """The one shape of every error; SDKs that do not find ``code`` and ``message`` retry a permanent error."""
    return {"success": False, "code": code, "message": message, **details}


def error_response(status: int, code: str, message: str, **details: object) -> JSONResponse:
    headers = {"Retry-After": "5"} if status in (429, 503) else {}
    if "retry_after" in details:
        headers["Retry-After"] = str(details.pop("retry_after"))
    return JSONResponse(error_body(code, message, **details), status_code=status, headers=headers)


def make_app(title: str, description: str, probes: Probes, max_body_bytes: int = 1024 * 1024) -> FastAPI:
    """A FastAPI application with our error bodies, probes, ``/metrics`` and a body limit; docs at ``/docs``."""
    app = FastAPI(title=title, description=description, version="1")

    @app.exception_handler(Refused)
    async def _refused(_request: Request, exc: Refused) -> JSONResponse:
        return error_response(exc.status, exc.code, exc.message, **exc.details)

    @app.exception_handler(RetryLater)
    async def _retry_later(_request: Request, exc: RetryLater) -> JSONResponse:
        logger.warning("retry_later", detail=str(exc))
        return error_response(503, "unavailable", "Something this needs does not answer just now; try again.")

    @app.exception_handler(BodyTooLarge)
    async def _too_large(_request: Request, exc: BodyTooLarge) -> JSONResponse:
        return too_large(exc.limit_bytes)

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, exc: HTTPException) -> JSONResponse:
        phrase = HTTPStatus(exc.status_code).phrase
        code = re.sub(r"[^a-z]+", "_", phrase.lower())
        response = error_response(exc.status_code, code, str(exc.detail))
        response.headers.update(exc.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, exc: RequestValidationError) -> JSONResponse:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return error_response(422, "invalid_request", f"{where}: {first['msg']}")

    @app.exception_handler(Exception)
    async def _bug(_request: Request, exc: Exception) -> JSONResponse:
        logger.error("unhandled", exc_info=exc)
        return error_response(500, "internal_error", "This is a defect of Kizashi; the log line has the details.")

    @app.get("/livez", tags=["probes"], summary="Is this process making progress?")
    async def livez() -> JSONResponse:
        problems = await probes.problems(probes.live)
        return JSONResponse({"live": not problems, "problems": problems}, status_code=503 if problems else 200)

    @app.get("/readyz", tags=["probes"], summary="Can this process do its work now?")
    async def readyz() -> JSONResponse:
        problems = ["stopping"] if probes.stopping else await probes.problems([*probes.live, *probes.ready])
        return JSONResponse({"ready": not problems, "problems": problems}, status_code=503 if problems else 200)

    @app.get("/metrics", tags=["probes"], response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)
    app.add_middleware(RequestId)
    return app


def caller(database: Database, *needed: Scope) -> Any:
    """A dependency that gives the Principal behind the API key, or refuses: 401 without one, 403 without a scope."""

    async def principal(authorization: Annotated[str | None, Header()] = None) -> Principal:
        found = await authenticate(database, authorization)
        missing = sorted(scope.value for scope in needed if scope not in found.scopes)
        if missing:
            raise Refused(403, "missing_scope", f"This API key lacks the scope {', '.join(missing)}.")
        return found

    return Depends(principal)


class BodyLimit:
    """Refuses a body by the bytes that really arrive; a chunked one announces no length."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
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


class BodyTooLarge(HTTPException):
    """Raised while reading a body that has passed its limit. An HTTPException, since FastAPI turns any other
    exception during the reading of a body into its own 400."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413)
        self.limit_bytes = limit_bytes


def too_large(limit_bytes: int) -> JSONResponse:
    response = error_response(
        413,
        "body_too_large",
        f"The body is larger than {limit_bytes} bytes; send less at a time.",
        limit_bytes=limit_bytes,
    )
    response.headers["Connection"] = "close"
    return response


class RequestId:
    """Gives every request an id, the caller's own when it sent a sensible one, and returns it as X-Request-Id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        request_id = sent if re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", sent) else uuid.uuid4().hex.encode()

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", []).append((b"x-request-id", request_id))
            await send(message)

        await self._app(scope, receive, with_id)
