"""Inflates a compressed body piece by piece, never further than it may."""

from __future__ import annotations

import zlib

from libs.common.errors import Refused

GZIP_MAGIC = b"\x1f\x8b"
MEMBERS_LIMIT = 100
"""Of one gzip body. Tools that compress in parallel write some; a body of empty ones would keep us busy for nothing."""
_GZIP, _ZLIB, _RAW_DEFLATE = 31, 15, -15
_NAMES = {"": "plain", "identity": "plain", "gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}


class Inflater:
    """Made from a Content-Encoding, but gzip is recognised without it too: some clients forget to say."""

    def __init__(self, content_encoding: str) -> None:
        """Raises Refused 415 for an encoding that is none of gzip, deflate, identity."""
        name = _NAMES.get(content_encoding.strip().lower())
        if name is None:
            raise Refused(415, "unknown_encoding", "The body's Content-Encoding must be gzip, deflate or none.")
        self._name = name
        self._beginning: bytes | None = b""
        self._engine: zlib._Decompress | None = None
        self._members = 0

    def feed(self, data: bytes, room: int) -> bytes:
        """What ``data`` adds, at most ``room`` bytes: whoever gets that many has met the limit and goes no further.
        Raises Refused 400 when it is not what it says."""
        if self._beginning is not None:
            data = self._beginning + data
            if len(data) < len(GZIP_MAGIC):
                self._beginning = data
                return b""
            self._beginning = None
            self._begin(data)
        return data if self._engine is None else self._inflate(data, room)

    def finish(self) -> bytes:
        """What was held back of a body too short to be compressed. Raises Refused 400 when it ends too early."""
        if self._beginning is not None:
            if self._beginning and self._name != "plain":
                raise _not_what_it_says()
            return self._beginning
        if self._engine is not None and not self._engine.eof:
            raise Refused(400, "bad_encoding", "The compressed body ends too early.")
        return b""

    def _begin(self, data: bytes) -> None:
        if data.startswith(GZIP_MAGIC):
            self._open(_GZIP)
        elif self._name == "gzip":
            raise _not_what_it_says()
        elif self._name == "deflate":
            # HTTP means zlib's wrapping; some clients send the bare stream. The wrapping proves itself by a checksum.
            wrapped = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._open(_ZLIB if wrapped else _RAW_DEFLATE)

    def _open(self, window_bits: int) -> None:
        self._members += 1
        if self._members > MEMBERS_LIMIT:
            raise Refused(400, "bad_encoding", f"The gzip body has more than {MEMBERS_LIMIT} members.")
        self._engine = zlib.decompressobj(wbits=window_bits)

    def _inflate(self, data: bytes, room: int) -> bytes:
        pieces: list[bytes] = []
        while data and room > 0:
            assert self._engine is not None
            if self._engine.eof:
                if not data.startswith(GZIP_MAGIC[:1]):
                    break  # padding, which gzip's own tools pass over too
                self._open(_GZIP)
            try:
                piece = self._engine.decompress(data, room)
            except zlib.error as exc:
                raise _not_what_it_says() from exc
            pieces.append(piece)
            room -= len(piece)
            data = self._engine.unconsumed_tail or self._engine.unused_data
        return b"".join(pieces)


def _not_what_it_says() -> Refused:
    return Refused(400, "bad_encoding", "The body is not compressed the way that its Content-Encoding says.")
