"""The lines of a file, plain or gzipped, or of standard input; never more of them in memory than one."""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import signal
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple, cast

from cli.imports.problems import Misused, Stopped

STDIN = "-"
LONGEST_LINE_BYTES = 1024 * 1024
_GZIP = b"\x1f\x8b"


class Line(NamedTuple):
    """``data`` is with its ending; of a line that is too long, its beginning."""

    number: int
    data: bytes
    too_long: bool = False


@dataclass
class OpenedFile:
    """``size_bytes`` and ``modified_at`` are None for standard input. ``unfinished_line`` is the last one, if it has no
    end yet and somebody is writing the file: it is not among the lines that were read."""

    name: str
    size_bytes: int | None
    modified_at: datetime | None
    _stored: IO[bytes]
    _content: IO[bytes]
    unfinished_line: int | None = None

    @property
    def read_bytes(self) -> int:
        """How much of ``size_bytes`` has been read, compressed as it may be."""
        return self._stored.tell() if self.size_bytes is not None else 0

    def lines(self) -> Iterator[Line]:
        """Raises Stopped where a compressed file is damaged or ends too early."""
        number = 0
        try:
            while data := self._content.readline(LONGEST_LINE_BYTES + 1):
                number += 1
                if not data.endswith(b"\n") and len(data) <= LONGEST_LINE_BYTES:
                    if _is_being_written(self._stored):
                        self.unfinished_line = number
                        return
                    # What came between reading and asking.
                    data += self._content.readline(LONGEST_LINE_BYTES + 1 - len(data))
                too_long = len(data) > LONGEST_LINE_BYTES
                yield Line(number, data[:LONGEST_LINE_BYTES], too_long)
                while too_long and data and not data.endswith(b"\n"):
                    data = self._content.readline(LONGEST_LINE_BYTES)
        except (OSError, EOFError, zlib.error) as exc:
            raise Stopped(f"{self.name} cannot be read after line {number}: {exc}. Get a whole copy of it.") from exc


@contextmanager
def opened(path: str) -> Iterator[OpenedFile]:
    """``path`` may be ``STDIN``. Raises Misused when there is nothing to read, or another import reads it."""
    with ExitStack() as stack:
        if path == STDIN:
            stored: io.BufferedReader = io.BufferedReader(cast(io.RawIOBase, sys.stdin.buffer))
            stack.callback(stored.detach)
            found = None
        else:
            try:
                stored = stack.enter_context(Path(path).open("rb"))
            except OSError as exc:
                raise Misused(f"{path} cannot be read: {exc.strerror}.") from exc
            found = os.fstat(stored.fileno())
            _lock(stored, path)
        content: IO[bytes] = stored
        if stored.peek(2).startswith(_GZIP):
            content = cast(IO[bytes], stack.enter_context(gzip.GzipFile(fileobj=stored)))
        yield OpenedFile(
            name="standard input" if found is None else Path(path).name,
            size_bytes=found.st_size if found else None,
            modified_at=datetime.fromtimestamp(found.st_mtime, UTC) if found else None,
            _stored=stored,
            _content=content,
        )


def _is_being_written(file: IO[bytes]) -> bool:
    """Whether somebody has it open to write, where that can be known: on Linux, of files that are the user's own."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        # A lease is had of a file only while nobody has it open to write. Who opens it just then signals us, and by the
        # usual signal would end us.
        fcntl.fcntl(file.fileno(), fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file.fileno(), fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file.fileno(), fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _lock(file: IO[bytes], path: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise Misused(f"Another kizashi import is at work on {path}; let it finish.") from exc
    except OSError:
        pass  # a file system without locks
