"""How answers leave a connection."""

from __future__ import annotations

import json
import secrets
from asyncio import AbstractEventLoop, Transport
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from libs.common.error_answers import error_body


class AtOnce:
    """A transport that writes all at once what one turn of the event loop has for it: the head and the body of an
    answer come one after the other, and each write is a system call that wakes whoever waits for it."""

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        data = b"".join(self._pieces)
        self._pieces.clear()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def last_answer(status: HTTPStatus, message: str) -> bytes:
    """A refusal after which the connection ends."""
    body = json.dumps(error_body(status.name.lower(), message), separators=(",", ":")).encode()
    return b"".join(
        (
            STATUS_LINE[status],
            b"content-type: application/json\r\n",
            b"content-length: %d\r\n" % len(body),
            b"x-request-id: %b\r\n" % secrets.token_hex(16).encode(),
            b"connection: close\r\n\r\n",
            body,
        )
    )
