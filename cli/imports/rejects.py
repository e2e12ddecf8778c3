"""The rows that were refused: JSON lines in a file beside, each with its place, its reason and itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from cli.imports.problems import Misused

_encode = msgspec.json.Encoder().encode


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
        self.path = path
        self._file: IO[bytes] | None = None
        self.bytes = 0
        if keep_bytes:
            file = self._open()
            file.truncate(min(keep_bytes, file.seek(0, 2)))
            self.bytes = file.seek(0, 2)
        else:
            self.path.unlink(missing_ok=True)

    def add(self, refused: Sequence[Refused]) -> None:
        """In the file, as far as this process is concerned, when it returns."""
        if not refused:
            return
        file = self._file or self._open()
        for one in refused:
            self.bytes += file.write(
                _encode(
                    {
                        "line": one.line,
                        "code": one.code,
                        "message": one.message,
                        "original": one.original.decode("utf-8", "backslashreplace").rstrip("\r\n"),
                    }
                )
                + b"\n"
            )
        file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _open(self) -> IO[bytes]:
        try:
            self._file = file = self.path.open("r+b" if self.path.exists() else "w+b")
        except OSError as exc:
            raise Misused(
                f"Refused rows cannot be written to {self.path} ({exc.strerror}); name another file: --rejects FILE."
            ) from exc
        return file
