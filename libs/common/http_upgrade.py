"""Requests that offer to go on in another protocol, as Java's own client does on every connection ("Upgrade: h2c").

RFC 9110, 7.8: an offer may be ignored, the request may not. The parser stops at the end of such a head, whatever body
it announces, and so gets the head once more without the offer.
"""

from __future__ import annotations

from typing import Any

from httptools import HttpRequestParser


def parser_for(connection: Any) -> HttpRequestParser:
    """As uvicorn makes one."""
    parser = HttpRequestParser(connection)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser


def is_tunnel(parser: HttpRequestParser) -> bool:
    """CONNECT is no offer: what follows it belongs to somebody else."""
    return bool(parser.get_method() == b"CONNECT")


def head_without_offer(parser: HttpRequestParser, url: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
    """What the parser took apart, put together again. ``headers`` have small names."""
    first_line = b"%b %b HTTP/%b" % (parser.get_method(), url, parser.get_http_version().encode())
    lines = [b"%b: %b" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join([first_line, *lines, b"", b""])
