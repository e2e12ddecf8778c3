"""Mends what clients really send and strict JSON or PostgreSQL refuses, and leaves every other byte as it was.

Python sends bare NaN and Infinity (they become null) and lone surrogates (U+FFFD); \\u0000 is valid JSON that
PostgreSQL cannot store (it goes); control characters inside strings get escaped; bytes that are no UTF-8 become
U+FFFD; a byte order mark goes. Refusing such a body would cost up to a hundred good events that travel with it.
"""

from __future__ import annotations

import re

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
NUL_ESCAPE = b"\\u0000"

# Runs of what needs no mending are passed over as one, which makes the rest affordable. Every string matches to its
# end, an unfinished one too: so it is one pass, whatever a hostile body holds.
_TOKENS = re.compile(
    rb"""(?P<clean>(?:[^"NI-]++|"(?:[^"\\\x00-\x1f]++|\\[^u\x00-\x1f])*+"|-(?!I))++)"""
    rb"""|(?P<string>"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))"""
    rb"""|-?\bInfinity\b|\bNaN\b""",
    re.DOTALL,
)
_SUSPICIOUS = re.compile(rb"[\x00-\x1f]|\\u(?:0000|[dD][89a-fA-F])")
_HARMFUL = re.compile(
    rb"(?P<pair>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|(?P<nul>\\u0000|\x00)"
    rb"|(?P<escape>\\.)"
    rb"|(?P<control>[\x00-\x1f])",
    re.DOTALL,
)


def mend(body: bytes) -> bytes:
    """The same document without what the module's first lines name. Takes time in proportion to its length."""
    if not body.isascii():
        body = body.decode("utf-8", errors="replace").encode()
    return _TOKENS.sub(_mend_token, body.removeprefix(BYTE_ORDER_MARK))


def _mend_token(found: re.Match[bytes]) -> bytes:
    token = found.group()
    match found.lastgroup:
        case "clean":
            return token
        case "string":
            return _HARMFUL.sub(_mend_character, token) if _SUSPICIOUS.search(token) else token
        case _:
            return b"null"


def _mend_character(found: re.Match[bytes]) -> bytes:
    match found.lastgroup:
        case "lone":
            return rb"\ufffd"
        case "nul":
            return b""
        case "control":
            return b"\\u%04x" % found.group()[0]
        case _:
            return found.group()
