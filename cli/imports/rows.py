"""A row, whatever it was read from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from cli.imports.problems import RowRefused


@dataclass(frozen=True, slots=True)
class Row:
    """Lines ``first_line`` to ``last_line`` of the file, ``data`` as they stand there. A blank line is a row without
    cells and without a problem."""

    first_line: int
    last_line: int
    data: bytes
    cells: Mapping[str, object] | None = None
    problem: RowRefused | None = None


class Rows(Protocol):
    """``columns`` are the names that all rows have, none where each row names its own. ``beginning`` is what stands
    before the first row. ``cells_are_text``: numbers and the like are still to be read out of it; ``delimiter`` stands
    between cells."""

    columns: tuple[str, ...]
    beginning: bytes
    cells_are_text: bool
    delimiter: str | None

    def __iter__(self) -> Iterator[Row]: ...
