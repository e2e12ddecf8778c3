"""Reads a request's body: inflated, within its limit, within its time, counted against what the process may hold."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import Receive

from libs.common.web import BodyTooLarge
from services.ingest.inflating import GZIP_MAGIC, Inflater
from services.ingest.pressure import GaveWay, Share


class ClientLeft(Exception):
    """The connection ended in the middle of the body; there is nobody to answer."""


async def read_body(
    receive: Receive,
    *,
    content_length: bytes,
    content_encoding: bytes,
    limit_bytes: int,
    share: Share,
    seconds: float,
    is_here: bool = False,
) -> bytes:
    """The whole body, decoded. ``limit_bytes`` holds for what arrives and for what it inflates to. It has so many
    ``seconds`` to arrive, unless it ``is_here`` already, which saves watching over it.

    Raises BodyTooLarge, Refused 400 and 415 for its encoding, 408 when it takes too long, NotNow when the process
    holds too much, ClientLeft.
    """
    announced = 0
    if content_length.isdigit() and (announced := int(content_length[:20])) > limit_bytes:
        raise BodyTooLarge(limit_bytes)
    if is_here:
        return await _read(receive, content_encoding, limit_bytes, share)
    try:
        async with asyncio.timeout(seconds) as patience:

            def cut_off() -> None:
                if not patience.expired():
                    patience.reschedule(0)

            share.arrives(announced, cut_off)
            try:
                return await _read(receive, content_encoding, limit_bytes, share)
            finally:
                share.has_arrived()
    except TimeoutError as exc:
        if share.gave_way:
            raise GaveWay from exc
        raise HTTPException(
            408, f"The body did not arrive within {seconds:g} s.", headers={"Connection": "close"}
        ) from exc


async def _read(receive: Receive, content_encoding: bytes, limit_bytes: int, share: Share) -> bytes:
    chunk, more = await _next(receive)
    if not (more or content_encoding or chunk.startswith(GZIP_MAGIC)):  # nearly always
        if len(chunk) > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        share.grow(len(chunk), len(chunk))
        return chunk
    inflater = Inflater(content_encoding.decode("latin-1"))
    pieces: list[bytes] = []
    arrived = decoded = 0
    while True:
        arrived += len(chunk)
        piece = inflater.feed(chunk, limit_bytes - decoded + 1)
        decoded += len(piece)
        if arrived > limit_bytes or decoded > limit_bytes:
            raise BodyTooLarge(limit_bytes)
        if not more:  # asked of what was inflated to its end, which a body over the limit is not
            rest = inflater.finish()
            decoded += len(rest)
            piece += rest
        share.grow(arrived, decoded)
        pieces.append(piece)
        if not more:
            return b"".join(pieces)
        chunk, more = await _next(receive)


async def _next(receive: Receive) -> tuple[bytes, bool]:
    """A piece as it arrived, and whether there is more to come. Raises ClientLeft."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientLeft
    return message.get("body", b""), message.get("more_body", False)
