"""Lets browsers of any site send: write keys are public, and all that they open is writing."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_AGE_SECONDS = 86_400
METHODS = b"GET, POST, PUT, DELETE, OPTIONS"


class Cors:
    """Headers on every answer, errors included: without them a browser hides even a 429's Retry-After."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        added = [(b"vary", b"Origin")]
        if origin := headers.get(b"origin"):
            added += [
                (b"access-control-allow-origin", origin),
                (b"access-control-allow-credentials", b"true"),
                (b"access-control-expose-headers", b"Retry-After, X-Request-Id"),
            ]

        async def with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        if scope["method"] == "OPTIONS":
            await _preflight(headers.get(b"access-control-request-headers"), with_cors)
        else:
            await self._app(scope, receive, with_cors)


async def _preflight(asked: bytes | None, send: Send) -> None:
    """Any header that is asked for: retries add some of their own."""
    headers = [
        (b"access-control-allow-methods", METHODS),
        (b"access-control-max-age", str(MAX_AGE_SECONDS).encode()),
    ]
    if asked:
        headers.append((b"access-control-allow-headers", asked))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
