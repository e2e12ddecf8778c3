"""The rows that were refused: JSON lines in a file beside, each with its place, its reason and itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from cli.imports.problems import Misused, Stopped

_encode = msgspec.json.Encoder().encode
_BEGINNING = b'{"line":'


class Refused(NamedTuple):
    """``original`` is the row as it stands in the file."""

    line: int
    code: str
    message: str
    original: bytes


class Rejects:
    """Made when the first row is refused. What an earlier attempt wrote is kept up to ``keep_bytes``: what lies behind
    was written and not acknowledged."""

    def __init__(self, path: Path, keep_bytes: int) -> None:
        """Raises Misused when there is something else in the file, and Stopped."""
        self.path = path
        self._file: IO[bytes] | None = None
        self.bytes = 0
        with self._trouble_told():
            self._expect_ours()
            if keep_bytes:
                file = self._opened()
                file.truncate(min(keep_bytes, file.seek(0, os.SEEK_END)))
                self.bytes = file.seek(0, os.SEEK_END)
            elif self.path.is_file():
                self.path.resolve().unlink()

    def add(self, refused: Sequence[Refused]) -> None:
        """In the file, as far as this process is concerned, when it returns. Raises Stopped."""
        if not refused:
            return
        with self._trouble_told():
            file = self._opened()
            for one in refused:
                original = one.original.decode("utf-8", "backslashreplace").rstrip("\r\n")
                said = {"line": one.line, "code": one.code, "message": one.message, "original": original}
                self.bytes += file.write(_encode(said) + b"\n")
            file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _expect_ours(self) -> None:
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            if file.read(len(_BEGINNING)) not in (b"", _BEGINNING):
                raise Misused(f"{self.path} holds something else than refused rows; name another file: --rejects FILE.")

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._file = self.path.open("r+b" if self.path.exists() else "w+b")
        return self._file

    @contextmanager
    def _trouble_told(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise Stopped(
                f"Refused rows cannot be written to {self.path} ({exc.strerror}); name another file: --rejects FILE."
            ) from exc
