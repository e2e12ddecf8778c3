"""How far a file has been sent: a small file beside it, true after a kill -9 and a power cut."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from cli.imports.names import Kind
from cli.imports.problems import Misused, Stopped

ENDING = ".import.json"
IDS_ARE_KNOWN = timedelta(days=6)
"""For how long health surely knows the ids of what it has had: seven days, of which some may pass before it reads."""


class Journal(msgspec.Struct, kw_only=True, omit_defaults=True):
    """All up to and including ``lines`` was acknowledged, and hashes to ``digest``.

    ``source`` is its number where it is known; ``key`` stands for the write key. ``mapping`` stands for what columns
    were taken for. ``first_sent_at`` is of the earliest attempt whose ids may still be counted on.
    ``unended_bytes`` are those of the last row, where it was taken and no line feed ended it: the file may go on in the
    middle of it.
    """

    kind: Kind
    source: int | None
    key: str
    url: str
    mapping: str
    as_of: str | None
    first_sent_at: datetime
    last_sent_at: datetime
    completed: bool = False
    lines: int = 0
    digest: str = ""
    unended_bytes: int = 0
    rows: int = 0
    accepted: int = 0
    refused: dict[str, int] = {}
    rejects_bytes: int = 0
    version: int = 1

    @property
    def ids_are_known(self) -> bool:
        """Whether rows that were sent before have no second effect."""
        return datetime.now(UTC) - self.first_sent_at < IDS_ARE_KNOWN


def read(path: Path) -> Journal | None:
    """Raises Misused when there is one that cannot be read."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Journal)
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise Misused(f"The journal {path} cannot be read: {exc.strerror}.") from exc
    except msgspec.DecodeError as exc:
        raise Misused(
            f"{path} is no journal of an import ({exc}); name another one (--journal FILE), or remove it to begin anew."
        ) from exc
    return found


def beside(path: Path) -> Path:
    """Where it is written before it takes its place."""
    return path.with_name(f"{path.name}.new")


def write(path: Path, journal: Journal) -> None:
    """Durable when it returns; a reader never sees half of it. Raises Stopped."""
    new = beside(path)
    try:
        with new.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(journal), indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as exc:
        raise Stopped(
            f"How far it is cannot be written to {path} ({exc.strerror}); name another file: --journal FILE."
        ) from exc
