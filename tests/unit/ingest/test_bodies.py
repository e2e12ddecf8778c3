"""Reading a body: inflated as a stream, bounded whatever it announces or inflates to."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Callable, Sequence

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message

from libs.common.errors import Refused
from libs.common.web import BodyTooLarge
from services.ingest.bodies import ClientLeft, read_body
from services.ingest.inflating import MEMBERS_LIMIT
from services.ingest.pressure import REQUEST_BYTES, InFlight, NotNow

LIMIT = 100_000
TEXT = b'{"batch":[{"type":"track","event":"Report Exported"}]}'


async def read(
    pieces: Sequence[bytes],
    encoding: bytes = b"",
    *,
    length: bytes = b"",
    in_flight: InFlight | None = None,
    is_here: bool = False,
) -> bytes:
    waiting: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    if waiting:
        waiting[-1]["more_body"] = False
    waiting.append({"type": "http.disconnect"})

    async def receive() -> Message:
        return waiting.pop(0)

    with (in_flight or InFlight(10_000_000)).request() as share:
        return await read_body(
            receive,
            content_length=length,
            content_encoding=encoding,
            limit_bytes=LIMIT,
            share=share,
            seconds=5,
            is_here=is_here,
        )


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)] or [b""]


RAW = zlib.compressobj(wbits=-15)
RAW_DEFLATED = RAW.compress(TEXT) + RAW.flush()


@pytest.mark.parametrize("size", [1, 2, 7, 100_000])
@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (TEXT, b""),
        (TEXT, b"identity"),
        (gzip.compress(TEXT), b"gzip"),
        (gzip.compress(TEXT), b"GZIP "),
        (gzip.compress(TEXT), b"x-gzip"),
        (gzip.compress(TEXT), b""),
        (gzip.compress(TEXT), b"identity"),
        (zlib.compress(TEXT), b"deflate"),
        (RAW_DEFLATED, b"deflate"),
        (gzip.compress(TEXT[:20]) + gzip.compress(TEXT[20:]), b"gzip"),
        (gzip.compress(TEXT) + b"\0" * 30, b"gzip"),
    ],
)
async def test_a_body_is_read_however_it_is_compressed_and_cut(body: bytes, encoding: bytes, size: int) -> None:
    assert await read(cut(body, size), encoding) == TEXT
    if size >= len(body):
        assert await read([body], encoding, is_here=True) == TEXT


@pytest.mark.parametrize(("body", "encoding"), [(b"x" * 600, b""), (gzip.compress(b"x" * 600), b"gzip")])
async def test_what_is_here_already_is_bounded_as_well(body: bytes, encoding: bytes) -> None:
    in_flight = InFlight(REQUEST_BYTES + 500)
    with pytest.raises(NotNow):
        await read([body], encoding, in_flight=in_flight, is_here=True)
    with in_flight.request() as share:
        share.add(500)  # nothing of the other one is held any more


@pytest.mark.parametrize("body", [b"", b"{", b"{}"])
async def test_a_tiny_body_is_read(body: bytes) -> None:
    assert await read([body]) == body


@pytest.mark.parametrize(
    ("body", "encoding", "status", "code"),
    [
        (TEXT, b"br", 415, "unknown_encoding"),
        (TEXT, b"gzip, gzip", 415, "unknown_encoding"),
        (TEXT, b"\xff", 415, "unknown_encoding"),
        (TEXT, b"gzip", 400, "bad_encoding"),
        (b"{", b"gzip", 400, "bad_encoding"),
        (TEXT, b"deflate", 400, "bad_encoding"),
        (gzip.compress(TEXT)[:-1], b"gzip", 400, "bad_encoding"),
        (gzip.compress(TEXT)[:15], b"gzip", 400, "bad_encoding"),
        (gzip.compress(TEXT)[:2], b"gzip", 400, "bad_encoding"),
        (gzip.compress(TEXT)[:-6] + b"\0" * 6, b"gzip", 400, "bad_encoding"),
        (b"\x1f\x8b" + b"\xff" * 50, b"", 400, "bad_encoding"),
        (gzip.compress(b"") * (MEMBERS_LIMIT + 1), b"gzip", 400, "bad_encoding"),
    ],
)
async def test_what_cannot_be_inflated_is_refused(body: bytes, encoding: bytes, status: int, code: str) -> None:
    with pytest.raises(Refused) as refusal:
        await read(cut(body, 10), encoding)
    assert (refusal.value.status, refusal.value.code) == (status, code)


async def test_the_limit_holds_for_what_arrives_and_what_it_inflates_to() -> None:
    assert len(await read(cut(b"x" * LIMIT, 1000))) == LIMIT
    assert len(await read([gzip.compress(b"x" * LIMIT)], b"gzip")) == LIMIT
    for pieces in (cut(b"x" * (LIMIT + 1), 1000), [gzip.compress(b"x" * (LIMIT + 1))], cut(b"\x1f\x8b" * LIMIT, 1)):
        with pytest.raises((BodyTooLarge, Refused)):
            await read(pieces)
    with pytest.raises(BodyTooLarge):
        await read([], length=b"100001")
    with pytest.raises(BodyTooLarge):
        await read([], length=b"9" * 5000)
    assert await read([TEXT], length=b"nonsense") == TEXT


@pytest.mark.parametrize(("compress", "encoding"), [(gzip.compress, b"gzip"), (zlib.compress, b"deflate")])
async def test_a_compressed_body_that_comes_in_one_piece_is_too_large_and_not_broken(
    compress: Callable[[bytes], bytes], encoding: bytes
) -> None:
    with pytest.raises(BodyTooLarge):
        await read([compress(bytes(3 * LIMIT))], encoding)


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
async def test_a_bomb_is_defused_before_it_grows(encoding: bytes) -> None:
    bomb = gzip.compress(bytes(300_000_000), 9) if encoding == b"gzip" else zlib.compress(bytes(300_000_000), 9)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            await read(cut(bomb, 65_536), encoding)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


async def test_what_is_held_is_bounded_and_given_back() -> None:
    in_flight = InFlight(REQUEST_BYTES + 500)
    for _ in range(3):
        with pytest.raises(NotNow):
            await read(cut(b"x" * 501, 100), in_flight=in_flight)
        assert len(await read(cut(b"x" * 500, 100), in_flight=in_flight)) == 500
    with in_flight.request(), pytest.raises(NotNow), in_flight.request():
        pass
    with pytest.raises(NotNow):
        await read([gzip.compress(b"x" * 501)], in_flight=in_flight)


async def test_a_client_that_leaves_is_nobody_to_answer() -> None:
    with pytest.raises(ClientLeft):
        await read([])


async def test_a_body_that_never_ends_is_cut_off() -> None:
    async def receive() -> Message:
        await asyncio.sleep(0.001)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with InFlight(10_000_000).request() as share, pytest.raises(HTTPException) as problem:
        await read_body(receive, content_length=b"", content_encoding=b"", limit_bytes=LIMIT, share=share, seconds=0.05)
    assert problem.value.status_code == 408
