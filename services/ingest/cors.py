"""Lets browsers of any site send: write keys are public, and all that they open is writing."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.common.asgi import RequestId
from services.ingest.paths import CLOUD_EVENTS

MAX_AGE_SECONDS = 86_400
METHODS = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"


class Cors:
    """Headers on every answer, errors included: without them a browser hides even a 429's Retry-After."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._preflight = RequestId(_preflight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        added = cors_headers(headers.get(b"origin"))

        async def with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        if scope["method"] == "OPTIONS":
            await self._preflight(scope, receive, with_cors)
        else:
            await self._app(scope, receive, with_cors)


def cors_headers(origin: bytes | None) -> list[tuple[bytes, bytes]]:
    """Of any answer to a page of ``origin``, or to who names none."""
    vary = (b"vary", b"Origin")
    if not origin:
        return [vary]
    return [
        vary,
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"Retry-After, X-Request-Id"),
    ]


async def _preflight(scope: Scope, _receive: Receive, send: Send) -> None:
    """Any header that is asked for: retries add some of their own. Senders of CloudEvents ask too whether we want any,
    as the specification of their web hooks demands it."""
    asked = dict(scope["headers"])
    headers = [
        (b"access-control-allow-methods", METHODS),
        (b"access-control-max-age", str(MAX_AGE_SECONDS).encode()),
    ]
    if wanted := asked.get(b"access-control-request-headers"):
        headers.append((b"access-control-allow-headers", wanted))
    sender = asked.get(b"webhook-request-origin")
    if sender and scope["path"].rstrip("/") == CLOUD_EVENTS:
        headers += [(b"allow", b"POST"), (b"webhook-allowed-origin", sender), (b"webhook-allowed-rate", b"*")]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
