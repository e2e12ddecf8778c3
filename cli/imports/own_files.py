"""Sees that an import writes over none of its files: the same one has many names, by links and by other paths to it."""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path

from cli.imports import journal as journals
from cli.imports.file_lines import STDIN
from cli.imports.problems import Misused

_STDIN_DESCRIPTOR = 0


def expect_own_files(file: str, mapping: Path | None, journal: Path | None, rejects: Path) -> None:
    """Raises Misused when what is written would be what is read, or the other file that is written."""
    read: list[tuple[str, Path | int]] = [("the file itself", _STDIN_DESCRIPTOR if file == STDIN else Path(file))]
    if mapping is not None:
        read.append(("the mapping", mapping))
    written: list[tuple[str, Path | int]] = [("the refused rows (--rejects)", rejects)]
    if journal is not None:
        written.append(("the journal (--journal)", journal))
        written.append(("the journal, while it is written,", journals.beside(journal)))
    pairs = [(one, other) for one in written for other in read]
    for (one, path), (other, other_path) in [*pairs, *combinations(written, 2)]:
        if _are_one(path, other_path):
            raise Misused(f"{path}: {one} and {other} would be one file; name another.")


def _are_one(path: Path | int, other: Path | int) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:  # not both are there yet
        return isinstance(path, Path) and isinstance(other, Path) and os.path.realpath(path) == os.path.realpath(other)
