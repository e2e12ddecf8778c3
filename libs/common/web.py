"""The HTTP side that every service shares: an application with probes, metrics, error bodies, and known callers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from libs.common.api_keys import Principal, Scope, authenticate
from libs.common.asgi import BodyLimit, Outcomes, RequestId
from libs.common.db import Database
from libs.common.error_answers import (
    BodyTooLarge,
    ErrorBody,
    answer_errors,
    error_body,
    error_response,
    too_large,
)
from libs.common.errors import Refused, RetryLater
from libs.common.observability import REGISTRY

__all__ = [
    "BodyLimit",
    "BodyTooLarge",
    "Check",
    "Probes",
    "RequestId",
    "caller",
    "database_answers",
    "error_body",
    "error_response",
    "make_app",
    "too_large",
]

CHECK_SECONDS = 2.0
"""For a readiness check to answer; whoever probes us does not wait much longer."""

Check = Callable[[], Awaitable[str | None]]
"""A probe's check: None when fine, else a sentence that says what is missing."""


@dataclass
class Probes:
    """``live`` looks only at our own progress, never at a dependency; ``ready`` at everything.

    While ``starting`` there is no progress to look at yet, however long a dependency lets us wait.
    """

    live: list[Check] = field(default_factory=list)
    ready: list[Check] = field(default_factory=list)
    starting: bool = False
    stopping: bool = False

    async def not_live(self) -> list[str]:
        return [] if self.starting else await self.problems(self.live)

    async def not_ready(self) -> list[str]:
        if self.stopping:
            return ["stopping"]
        if self.starting:
            return ["still starting"]
        return await self.problems([*self.live, *self.ready])

    async def problems(self, checks: Sequence[Check]) -> list[str]:
        """What is wrong; a check that hangs or raises is a problem too."""
        answers = await asyncio.gather(*(_within_deadline(check) for check in checks))
        return [answer for answer in answers if answer]


async def _within_deadline(check: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except TimeoutError:
        return f"a check did not answer within {CHECK_SECONDS:.0f} s"
    except Exception as exc:
        return f"a check failed: {exc}"


def database_answers(database: Database) -> Check:
    """A readiness check: PostgreSQL takes a transaction of ours."""

    async def check() -> str | None:
        try:
            await database.ping()
        except RetryLater as exc:
            return f"the database does not answer: {exc}"
        return None

    return check


def make_app(
    title: str,
    description: str,
    probes: Probes,
    max_body_bytes: int = 1024 * 1024,
    paths_with_own_limit: Collection[str] = (),
) -> FastAPI:
    """A FastAPI application with our error bodies, probes, ``/metrics`` and a body limit; docs at ``/docs``.

    It never redirects: a path has its trailing slash or it has none.
    """
    app = FastAPI(
        title=title,
        description=description,
        version="1",
        redirect_slashes=False,
        responses={"default": {"model": ErrorBody, "description": "Every error has this shape."}},
    )
    answer_errors(app)

    @app.get("/livez", tags=["probes"], summary="Is this process making progress?")
    async def livez() -> JSONResponse:
        problems = await probes.not_live()
        return JSONResponse({"live": not problems, "problems": problems}, status_code=503 if problems else 200)

    @app.get("/readyz", tags=["probes"], summary="Can this process do its work now?")
    async def readyz() -> JSONResponse:
        problems = await probes.not_ready()
        return JSONResponse({"ready": not problems, "problems": problems}, status_code=503 if problems else 200)

    @app.get("/metrics", tags=["probes"], response_class=PlainTextResponse, summary="For Prometheus")
    async def metrics() -> PlainTextResponse:
        return PlainTextResponse(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    app.add_middleware(BodyLimit, max_bytes=max_body_bytes, except_paths=paths_with_own_limit)
    app.add_middleware(Outcomes)
    app.add_middleware(RequestId)
    return app


_bearer = HTTPBearer(auto_error=False, scheme_name="API key", description="kzs_…, shown once when it was made")


def caller(database: Database, *needed: Scope) -> Any:
    """A dependency that gives the Principal behind the API key, or refuses: 401 without one, 403 without a scope."""

    async def principal(
        _documented: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
        authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
    ) -> Principal:
        found = await authenticate(database, authorization)
        missing = sorted(scope.value for scope in needed if scope not in found.scopes)
        if missing:
            raise Refused(403, "missing_scope", f"This API key lacks the scope {', '.join(missing)}.")
        return found

    return Depends(principal)
