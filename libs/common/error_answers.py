"""The one shape of every HTTP error, the framework's own included."""

from __future__ import annotations

import re
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.routing import Match

from libs.common.errors import Refused, RetryLater
from libs.common.observability import get_logger

logger = get_logger(__name__)

RETRY_AFTER_SECONDS = 5
"""What a caller is told who comes too early, unless somebody knows better. Clients obey 1 to 300."""


class ErrorBody(BaseModel):
    """What every error looks like. SDKs that find no ``code`` and ``message`` retry a permanent error."""

    model_config = ConfigDict(extra="allow")

    success: bool = False
    code: str
    """Stable, for programs."""
    message: str
    """A sentence, for people."""


class BodyTooLarge(HTTPException):
    """Raised while reading a body that has passed its limit. An HTTPException, since FastAPI turns any other
    exception during the reading of a body into its own 400."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413)
        self.limit_bytes = limit_bytes


def error_body(code: str, message: str, **details: object) -> dict[str, object]:
    return {"success": False, "code": code, "message": message, **details}


def error_response(status: int, code: str, message: str, **details: object) -> JSONResponse:
    """``details`` become further top-level fields, but ``retry_after`` (seconds) the header."""
    seconds = details.pop("retry_after", RETRY_AFTER_SECONDS if status in (429, 503) else None)
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    return JSONResponse(error_body(code, message, **details), status_code=status, headers=headers)


def too_large(limit_bytes: int) -> JSONResponse:
    """The connection stays open: the server discards what still arrives, so that the client reads this answer
    instead of a reset that it would take for a reason to send everything again."""
    return error_response(
        413,
        "body_too_large",
        f"The body is larger than {limit_bytes} bytes; send less at a time.",
        limit_bytes=limit_bytes,
    )


def answer_errors(app: FastAPI) -> None:
    """Register the answers for every error that a handler or the framework raises on purpose."""

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
    async def _http(request: Request, exc: HTTPException) -> JSONResponse:
        phrase = HTTPStatus(exc.status_code).phrase
        code = re.sub(r"[^a-z]+", "_", phrase.lower())
        message = str(exc.detail)
        if message == phrase and exc.status_code == 404:
            message = f"There is nothing at {request.url.path}; /docs lists what there is."
        elif message == phrase and exc.status_code == 405:
            message = f"{request.url.path} does not take {request.method}."
        response = error_response(exc.status_code, code, message)
        response.headers.update(exc.headers or {})
        if exc.status_code == 405:
            response.headers["Allow"] = ", ".join(_methods_of(app, request))
        return response

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, exc: RequestValidationError) -> JSONResponse:
        first = exc.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return error_response(422, "invalid_request", f"{where}: {first['msg']}")


def _methods_of(app: FastAPI, request: Request) -> list[str]:
    """All that a path takes; the route that refuses knows only its own."""
    return [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in app.router.routes)
    ]
