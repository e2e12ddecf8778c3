"""An answer in one piece is the answer that uvicorn would have written in two."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
from starlette.types import Receive, Scope, Send

from libs.common.http_writing import ANSWER_AT_ONCE, Headers
from libs.common.testing import eventually
from tests.unit.common.test_http_connection import listening

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OF_A_TEXT = [(b"content-type", b"text/plain"), (b"content-length", b"4")]


def answering(
    *, at_once: bool, status: int = 200, headers: Headers = OF_A_TEXT, body: bytes = b"text"
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if at_once:
            assert scope[ANSWER_AT_ONCE](status, headers, body)
        else:
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return app


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(GET, id="once"),
        pytest.param(GET * 3, id="three in a row"),
        pytest.param(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n", id="of old"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", id="for the last time"),
        pytest.param(
            b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", id="expecting"
        ),
    ],
)
@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        pytest.param(200, OF_A_TEXT, b"text", id="200"),
        pytest.param(204, [], b"", id="204"),
        pytest.param(408, [*OF_A_TEXT, (b"connection", b"close")], b"text", id="408 that closes"),
    ],
)
async def test_it_is_what_uvicorn_writes(asked: bytes, status: int, headers: Headers, body: bytes) -> None:
    async def heard(*, at_once: bool) -> bytes:
        async with listening(answering(at_once=at_once, status=status, headers=headers, body=body)) as connect:
            reader, writer = await connect()
            writer.write(asked)
            writer.write_eof()
            return re.sub(rb"date: [^\r]*", b"date", await reader.read())

    assert await heard(at_once=True) == await heard(at_once=False)


async def test_a_client_that_does_not_read_is_not_written_to_without_end() -> None:
    """It sends requests, and lets the answers lie."""
    took: list[bool] = []
    size = 1_000_000

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        took.append(scope[ANSWER_AT_ONCE](200, [(b"content-length", b"%d" % size)], b"x" * size))
        if not took[-1]:
            await answering(at_once=False)(scope, receive, send)

    async with listening(app) as connect:
        reader, writer = await connect()
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        writer.write(GET * 10)

        async def is_refused() -> bool:
            return False in took

        await eventually(is_refused)
        asked = len(took)
        assert asked < 10  # the next ones wait, too
        transport.resume_reading()
        writer.write_eof()
        heard = await reader.read()
        assert heard.count(b"200 OK") == 10
        assert len(took) == 10


async def test_a_client_that_has_left_is_not_written_to() -> None:
    answered = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        assert scope[ANSWER_AT_ONCE](200, OF_A_TEXT, b"text")
        answered.set()

    async with listening(app) as connect:
        _, writer = await connect()
        writer.write(GET)
        await writer.drain()
        reset_when_closed = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_when_closed)
        writer.close()
        await answered.wait()
