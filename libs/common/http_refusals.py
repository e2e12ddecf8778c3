"""What a connection refuses before any service sees it, by which limits, and in which words."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from libs.common.error_answers import error_body

HEAD_LIMIT_BYTES = 64 * 1024
"""Of a request's first line and headers. Proxies take less; cookies of a whole company's domains are less."""
HEADERS_AT_MOST = 128
"""In one request. A header of a few bytes takes some twenty times as much here."""
WAITING_AT_MOST = 16
"""Requests behind the one in hand. Who sends more without a look at the answers wants our memory."""

HeadersForPage = Callable[[bytes | None], Sequence[tuple[bytes, bytes]]]
"""What the answer to a page of an origin bears, so that its scripts may read it; None: whoever asks names none."""


def no_headers(_origin: bytes | None) -> Sequence[tuple[bytes, bytes]]:
    """Of services that no page of another site asks."""
    return ()


class Refusal(NamedTuple):
    """The last answer of a connection."""

    status: HTTPStatus
    message: str

    def answer(self, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
        body = json.dumps(error_body(self.status.name.lower(), self.message), separators=(",", ":")).encode()
        return b"".join(
            (
                STATUS_LINE[self.status],
                b"content-type: application/json\r\n",
                b"content-length: %d\r\n" % len(body),
                b"x-request-id: %b\r\n" % secrets.token_hex(16).encode(),
                *(b"%b: %b\r\n" % header for header in headers),
                b"connection: close\r\n\r\n",
                body,
            )
        )


NO_HTTP = Refusal(HTTPStatus.BAD_REQUEST, "This is no HTTP request that can be understood.")
TOO_LATE = Refusal(HTTPStatus.REQUEST_TIMEOUT, "The request did not arrive in time.")
HEAD_TOO_LARGE = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The request's first line and headers are larger than {HEAD_LIMIT_BYTES} bytes.",
)
TOO_MANY_HEADERS = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The request has more than {HEADERS_AT_MOST} headers."
)
TOO_MANY_WAITING = Refusal(
    HTTPStatus.TOO_MANY_REQUESTS,
    f"More than {WAITING_AT_MOST} requests wait on this connection. Read their answers, then send the others.",
)
