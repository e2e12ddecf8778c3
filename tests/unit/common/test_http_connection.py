"""A connection's patience and limits: what uvicorn lacks, over a real socket."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from libs.common.http_connection import BODY_IS_HERE, patient
from libs.common.http_refusals import (
    HEAD_LIMIT_BYTES,
    HEADERS_AT_MOST,
    WAITING_AT_MOST,
    HeadersForPage,
    no_headers,
)
from libs.common.http_writing import ANSWER_AT_ONCE
from libs.common.testing import eventually

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
SHORT = 0.2
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
OF_JAVA = b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAA\r\nUpgrade: h2c\r\n"


async def answers_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    """With the path, and without a look at the body."""
    body = scope["path"].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def waits_for_the_body(scope: Scope, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message.get("more_body"):
            break
    await answers_at_once(scope, receive, send)


@asynccontextmanager
async def listening(
    app: Callable[[Scope, Receive, Send], Awaitable[None]],
    *,
    patience: float = 10,
    idle_seconds: int = 5,
    headers_for_page: HeadersForPage = no_headers,
) -> AsyncIterator[Connect]:
    config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_keep_alive=idle_seconds)
    config.load()
    kind = patient(patience, headers_for_page)
    connection = partial(kind, config=config, server_state=ServerState(), app_state={})
    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    writers: list[asyncio.StreamWriter] = []

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(host, port)
        writers.append(writer)
        return reader, writer

    try:
        async with asyncio.timeout(10):
            yield connect
    finally:
        for writer in writers:
            writer.close()
        server.close()
        await server.wait_closed()


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(line.split(":")[1] for line in head.lower().splitlines() if line.startswith("content-length"))
    return int(head.split()[1]), await reader.readexactly(int(length))


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with listening(waits_for_the_body) as connect:
        reader, writer = await connect()
        for _ in range(3):
            writer.write(POST + b"x" * 10)
            assert await answer(reader) == (200, b"/")
        writer.write(GET * 3)
        assert [await answer(reader) for _ in range(3)] == [(200, b"/")] * 3


@pytest.mark.parametrize("before", [b"", GET])
async def test_a_head_that_stops_in_the_middle_is_told_so_also_when_it_is_not_the_first(before: bytes) -> None:
    async with listening(answers_at_once, patience=SHORT) as connect:
        reader, writer = await connect()
        if before:
            writer.write(before)
            await answer(reader)
        writer.write(GET[:-4])
        status, body = await answer(reader)
        assert (status, json.loads(body)["code"]) == (408, "request_timeout")
        assert await reader.read() == b""


async def test_a_body_that_stops_in_the_middle_is_told_so_and_whoever_reads_it_that_nobody_is_there() -> None:
    ended = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await waits_for_the_body(scope, receive, send)
        ended.set()

    async with listening(app, patience=SHORT) as connect:
        reader, writer = await connect()
        writer.write(POST + b"half")
        status, body = await answer(reader)
        assert (status, json.loads(body)["code"]) == (408, "request_timeout")
        await ended.wait()
        assert await reader.read() == b""


async def test_a_body_that_nobody_wants_any_more_is_not_waited_for() -> None:
    async with listening(answers_at_once, patience=SHORT) as connect:
        reader, writer = await connect()
        writer.write(POST + b"half")
        assert await answer(reader) == (200, b"/")
        assert await reader.read() == b"", "and no second answer"


async def test_a_body_that_came_with_its_head_is_known_to_be_here() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = b"here" if BODY_IS_HERE in scope else b"to come"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async with listening(app) as connect:
        reader, writer = await connect()
        writer.write(POST + b"x" * 10)
        assert await answer(reader) == (200, b"here")
        writer.write(POST)
        assert await answer(reader) == (200, b"to come")
        writer.write(b"x" * 10 + GET)  # what comes after the answer is taken for no other request's
        assert await answer(reader) == (200, b"here")
        writer.write(CHUNKED + b"1\r\nx\r\n")
        assert await answer(reader) == (200, b"to come")


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with listening(answers_at_once, idle_seconds=0) as connect:
        reader, _ = await connect()
        assert await reader.read() == b""


async def test_an_answer_that_takes_its_time_is_not_cut_off() -> None:
    may_answer = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await may_answer.wait()
        await answers_at_once(scope, receive, send)

    async with listening(app, patience=SHORT) as connect:
        reader, writer = await connect()
        writer.write(GET)
        asyncio.get_running_loop().call_later(2 * SHORT, may_answer.set)
        assert await answer(reader) == (200, b"/")


@pytest.mark.parametrize("piece", [1000, 10_000_000])
async def test_a_head_has_a_limit_however_it_is_cut(piece: int) -> None:
    async with listening(answers_at_once) as connect:
        for size, expected in [(HEAD_LIMIT_BYTES - 100, 200), (HEAD_LIMIT_BYTES, 431)]:
            reader, writer = await connect()
            head = b"GET / HTTP/1.1\r\nX-A: " + b"a" * size + b"\r\n\r\n"
            for at in range(0, len(head), piece):
                writer.write(head[at : at + piece])
                await writer.drain()
            assert (await answer(reader))[0] == expected


async def test_the_body_before_a_head_is_not_counted_to_it() -> None:
    async with listening(waits_for_the_body) as connect:
        reader, writer = await connect()
        large = b"x" * (HEAD_LIMIT_BYTES - 10)
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(large) + large)
            writer.write(b"GET / HTTP/1.1\r\nX-A: " + b"a" * (HEAD_LIMIT_BYTES // 2) + b"\r\n\r\n")
            assert [await answer(reader) for _ in range(2)] == [(200, b"/")] * 2


async def test_a_refusal_is_read_by_a_client_that_goes_on_sending() -> None:
    async with listening(answers_at_once) as connect:
        reader, writer = await connect()
        writer.write(b"no HTTP at all\r\n")
        for _ in range(100):
            writer.write(b"x" * 10_000)
        status, body = await answer(reader)
        assert (status, json.loads(body)) == (
            400,
            {"success": False, "code": "bad_request", "message": "This is no HTTP request that can be understood."},
        )


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (GET[:-2] + b"Origin: page\r\n" + b"a:b\r\n" * HEADERS_AT_MOST + b"\r\n", 431),
        (GET[:-2] + b"Origin: page\r\nX-", 408),
        (GET[:-2] + b"Origin: page\r\na:b\r\nno header\r\n\r\n", 400),
        (GET + POST[:-2] + b"Origin: page\r\n\r\nhalf", 408),
        (CHUNKED[:-2] + b"Origin: page\r\n\r\nno size\r\n", 400),
    ],
)
async def test_a_refusal_bears_the_headers_for_the_page_that_asks(request_bytes: bytes, status: int) -> None:
    def named(origin: bytes | None) -> list[tuple[bytes, bytes]]:
        return [(b"x-one", b"of " + (origin or b"nobody")), (b"x-two", b"two")]

    for headers_for_page, lines in [(named, b"\r\nx-one: of page\r\nx-two: two\r\n"), (no_headers, b"\r\n")]:
        async with listening(waits_for_the_body, patience=SHORT, headers_for_page=headers_for_page) as connect:
            reader, writer = await connect()
            writer.write(request_bytes)
            refusal = (await reader.read()).partition(b"HTTP/1.1 %d " % status)[2]
            assert lines + b"connection: close\r\n\r\n{" in refusal
            assert (b"x-one" in refusal) is (headers_for_page is named)


async def test_a_refusal_of_what_has_no_headers_yet_bears_those_for_nobodys_page() -> None:
    async with listening(
        answers_at_once, headers_for_page=lambda origin: [(b"x-one", origin or b"of nobody")]
    ) as connect:
        reader, writer = await connect()
        writer.write(GET[:-2] + b"Origin: page\r\n\r\n")
        await answer(reader)
        writer.write(b"no HTTP at all\r\n")
        assert b"\r\nx-one: of nobody\r\n" in await reader.read()


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[Connect, asyncio.Event]]:
    """A service that answers with the body, and the event that one of its requests has begun."""
    begun = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        names = b",".join(name for name, _ in scope["headers"])
        await answers_at_once({**scope, "path": f"{scope['method']} {names.decode()} {body.decode()}"}, receive, send)

    async with listening(app) as connect:
        yield connect, begun


@pytest.mark.parametrize("framing", [b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n"])
@pytest.mark.parametrize("segments", [1, 2])
async def test_a_request_that_offers_another_protocol_is_served_in_this_one(framing: bytes, segments: int) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\n" + OF_JAVA + framing + b"\r\n"
    body = b"0123456789" if framing.startswith(b"Content") else b"a\r\n0123456789\r\n0\r\n\r\n"
    name = framing.split(b":")[0].lower()
    async with echoing() as (connect, begun):
        reader, writer = await connect()
        for _ in range(2):
            begun.clear()
            writer.write(head if segments == 2 else head + body)
            if segments == 2:
                await begun.wait()
                writer.write(body)
            assert await answer(reader) == (200, b"POST host,connection,http2-settings," + name + b" 0123456789")
        writer.write((head + body) * 3 + GET)
        assert [(await answer(reader))[0] for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("path", [b"elsewhere.example:443", b"/"])
async def test_whoever_wants_a_tunnel_is_refused(path: bytes) -> None:
    async with listening(answers_at_once) as connect:
        reader, writer = await connect()
        writer.write(b"CONNECT " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await answer(reader))[0] == 400


@pytest.mark.parametrize("end", [b"\r\n", b""], ids=["whole", "unfinished"])
async def test_a_head_has_only_so_many_headers(end: bytes) -> None:
    async with listening(answers_at_once) as connect:
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * HEADERS_AT_MOST + b"\r\n")
        assert (await answer(reader))[0] == 200
        writer.write(b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * (HEADERS_AT_MOST + 2) + end)
        status, body = await answer(reader)
        assert (status, json.loads(body)["code"]) == (431, "request_header_fields_too_large")


async def test_an_idle_connection_keeps_nothing_of_what_it_was_asked() -> None:
    heads: list[weakref.ref[list[Any]]] = []

    class Headers(list[Any]):
        """A list that can be watched."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"] = Headers(scope["headers"])
        heads.append(weakref.ref(scope["headers"]))
        await answers_at_once(scope, receive, send)

    async with listening(app, idle_seconds=60) as connect:
        reader, writer = await connect()
        writer.write(GET)
        await answer(reader)

        async def gone() -> bool:
            return heads[0]() is None

        await eventually(gone)


async def test_requests_that_were_answered_in_one_piece_are_let_go_without_the_collector() -> None:
    """Also those that waited in line, of which the connection knows no more."""
    heads: list[weakref.ref[list[Any]]] = []

    class Headers(list[Any]):
        """A list that can be watched."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["headers"] = Headers(scope["headers"])
        heads.append(weakref.ref(scope["headers"]))
        assert scope[ANSWER_AT_ONCE](200, [(b"content-length", b"0")], b"")

    async def gone() -> bool:
        return all(head() is None for head in heads)

    gc.disable()
    try:
        async with listening(app, idle_seconds=60) as connect:
            reader, writer = await connect()
            writer.write(GET * 5)
            assert [await answer(reader) for _ in range(5)] == [(200, b"")] * 5
            await eventually(gone)
    finally:
        gc.enable()


class Wire(asyncio.Transport):
    """Takes what is written, and lets the test say which segments come."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = asyncio.Event()

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.closed.set()

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def test_a_connection_is_closed_that_idles_after_a_body_that_came_later_than_its_answer() -> None:
    config = uvicorn.Config(answers_at_once, log_config=None, lifespan="off", timeout_keep_alive=1)
    config.load()
    connection = patient(10, no_headers)(config=config, server_state=ServerState(), app_state={})
    wire = Wire()
    connection.connection_made(wire)
    connection.data_received(POST + b"xx")

    async def answered() -> bool:
        return wire.written.endswith(b"/")

    await eventually(answered)
    connection.data_received(b"xx")
    connection.data_received(b"x" * 6)
    async with asyncio.timeout(10):
        await wire.closed.wait()
    connection.connection_lost(None)


async def test_what_follows_a_body_is_no_header() -> None:
    async with echoing() as (connect, _):
        reader, writer = await connect()
        writer.write(CHUNKED + b"1\r\nx\r\n0\r\nX-Write-Key: y\r\n\r\n")
        assert await answer(reader) == (200, b"POST host,transfer-encoding x")


async def test_of_what_follows_a_body_not_much_is_taken() -> None:
    async with listening(waits_for_the_body) as connect:
        reader, writer = await connect()
        writer.write(CHUNKED + b"0\r\n" + b"a:b\r\n" * (HEADERS_AT_MOST + 2))
        assert (await answer(reader))[0] == 431


@pytest.mark.parametrize("bad", [b"no HTTP at all\r\n\r\n", CHUNKED + b"no size\r\n"], ids=["head", "chunk"])
async def test_what_came_before_garbage_is_answered_before_the_garbage_is(bad: bytes) -> None:
    async with listening(waits_for_the_body) as connect:
        reader, writer = await connect()
        writer.write((POST + b"x" * 10) * 2 + bad)
        assert [(await answer(reader))[0] for _ in range(3)] == [200, 200, 400]
        assert await reader.read() == b""


async def test_only_so_many_requests_wait_on_one_connection_and_these_are_answered() -> None:
    async with listening(waits_for_the_body) as connect:
        reader, writer = await connect()
        writer.write(GET * 1000)
        assert (await reader.read()).count(b"200 OK") == 1 + WAITING_AT_MOST


@pytest.mark.parametrize("requests", [1, 3])
async def test_a_client_that_has_ended_its_side_is_answered(requests: int) -> None:
    may_answer = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await may_answer.wait()
        await waits_for_the_body(scope, receive, send)

    async with listening(app) as connect:
        reader, writer = await connect()
        writer.write((POST + b"x" * 10) * requests)
        writer.write_eof()
        asyncio.get_running_loop().call_later(SHORT, may_answer.set)
        assert (await reader.read()).count(b"200 OK") == requests


def test_a_client_that_has_ended_its_side_is_answered_by_the_loop_of_services_too() -> None:
    """uvloop sees the end before it goes on with what was left for later, and an answer given at once was lost."""

    async def talk() -> list[bytes]:
        async with listening(answers_at_once) as connect:

            async def ask() -> bytes:
                reader, writer = await connect()
                writer.write(GET)
                writer.write_eof()
                return await reader.read()

            return [await ask() for _ in range(20)]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert all(b"200 OK" in one for one in runner.run(talk()))


@pytest.mark.parametrize("address", [b"http://x", b"http://x:99999/", b"a://"])
async def test_an_address_that_cannot_be_read_costs_no_request_before_it_its_answer(address: bytes) -> None:
    may_answer = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await may_answer.wait()
        await waits_for_the_body(scope, receive, send)

    async with listening(app) as connect:
        reader, writer = await connect()
        writer.write(GET + POST + b"x" * 10 + b"GET " + address + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        asyncio.get_running_loop().call_later(SHORT, may_answer.set)
        assert [(await answer(reader))[0] for _ in range(3)] == [200, 200, 400]
        assert await reader.read() == b""


@pytest.mark.parametrize("before", [b"", GET])
async def test_empty_lines_are_no_request_and_keep_no_connection(before: bytes) -> None:
    async with listening(answers_at_once, idle_seconds=1) as connect:
        reader, writer = await connect()
        if before:
            writer.write(before)
            await answer(reader)
        writer.write(b"\r\n")
        assert await reader.read() == b""


async def test_a_client_that_ends_its_side_in_the_middle_of_a_request_is_not_waited_for() -> None:
    async with listening(waits_for_the_body) as connect:
        reader, writer = await connect()
        writer.write(POST + b"half")
        writer.write_eof()
        assert await reader.read() == b""
