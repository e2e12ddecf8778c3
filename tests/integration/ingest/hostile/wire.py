"""Requests as the files of this folder write them, put on the wire byte by byte, and what comes back.

No client library would send most of them.
"""

from __future__ import annotations

import gzip
import json
import select
import socket
import zlib
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any

from tests.integration.ingest.one_process import OneProcess

ANSWER_SECONDS = 20.0
DRIP_SECONDS = 0.05


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def made(recipe: Any) -> bytes:
    """A text as UTF-8, and a list as its parts. ``{"json": …}`` is written as JSON, ``{"hex": …}`` are bytes,
    ``{"repeat": …, "times": n}`` repeats a recipe with ``#`` as the number of each time; ``gzip``, ``deflate`` and
    ``bare_deflate`` compress one, ``chunked`` cuts one into chunks of HTTP, and ``without_last`` leaves bytes out."""
    if isinstance(recipe, str):
        return recipe.encode()
    if isinstance(recipe, list):
        return b"".join(map(made, recipe))
    match recipe:
        case {"json": value}:
            return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        case {"hex": digits}:
            return bytes.fromhex(digits)
        case {"repeat": inner, "times": times}:
            pattern = made(inner)
            if b"#" not in pattern:
                return pattern * int(times)
            return b"".join(pattern.replace(b"#", str(number).encode()) for number in range(times))
        case {"gzip": inner}:
            return gzip.compress(made(inner), mtime=0)
        case {"deflate": inner}:
            return zlib.compress(made(inner))
        case {"bare_deflate": inner}:
            engine = zlib.compressobj(wbits=-15)
            return engine.compress(made(inner)) + engine.flush()
        case {"chunked": inner, "size": size}:
            data = made(inner)
            pieces = [data[at : at + size] for at in range(0, len(data), size)]
            return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        case {"without_last": count, "of": inner}:
            return made(inner)[:-count]
    raise ValueError(f"no recipe: {recipe!r}")


def bytes_of(request: dict[str, Any], key: str) -> bytes:
    """Either ``bytes``, all of it, or a method (POST), a path, headers and a body. ``$KEY`` stands for the write key,
    which is shown as X-Write-Key unless ``key`` says no."""
    if "bytes" in request:
        return _with_key(made(request["bytes"]), key)
    body = _with_key(made(request.get("body", "")), key)
    headers = {"Host": "ingest"}
    if request.get("key", True):
        headers["X-Write-Key"] = "$KEY"
    headers |= request.get("headers", {})
    if not {"Transfer-Encoding", "Content-Length"} & set(headers):
        headers["Content-Length"] = str(len(body))
    lines = [f"{request.get('method', 'POST')} {request['path']} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
    return _with_key("\r\n".join([*lines, "", ""]).encode(), key) + body


def _with_key(text: bytes, key: str) -> bytes:
    return text.replace(b"$KEY", key.encode())


def exchange(service: OneProcess, request: dict[str, Any]) -> Answer | None:
    """The answer, or None when the connection is closed without one. ``then`` is sent after the rest, a segment of its
    own; ``drip`` is a byte that is sent again and again until an answer comes; ``hang_up`` ends our side at once."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=ANSWER_SECONDS) as connection:
        try:
            connection.sendall(bytes_of(request, service.installed.write_key))
            if then := request.get("then"):
                select.select([connection], [], [], DRIP_SECONDS)
                connection.sendall(made(then))
            if request.get("hang_up"):
                connection.shutdown(socket.SHUT_WR)
            while drip := request.get("drip"):
                if select.select([connection], [], [], DRIP_SECONDS)[0]:
                    break
                connection.sendall(drip.encode())
        except ConnectionError:
            pass  # it may have answered all the same
        return _read(connection, request.get("method", "POST"))


def _read(connection: socket.socket, method: str) -> Answer | None:
    response = HTTPResponse(connection, method=method)
    try:
        response.begin()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    except ConnectionError:
        return None
    finally:
        response.close()
