"""CSV as people have it: by comma, semicolon, tab or bar, in whatever encoding, with rows that are broken."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator

from cli.imports.file_lines import LONGEST_LINE_BYTES, Line
from cli.imports.problems import Misused, RowRefused
from cli.imports.rows import Row

DELIMITERS = ",;\t|"


def delimiter_of(text: str) -> str:
    """One character, or «tab». Raises ValueError."""
    one = {"tab": "\t", "\\t": "\t"}.get(text, text)
    if len(one) != 1 or one in '"\r\n':
        raise ValueError(f"{text!r} is no delimiter: one character, or tab.")
    return one


class CsvRows:
    """A row that cannot be read costs itself and no other: after a quote that nothing closes, reading goes on with
    the next line."""

    cells_are_text = True

    def __init__(self, lines: Iterator[Line], encoding: str, delimiter: str | None) -> None:
        """Reads the header. Raises Misused when there is none."""
        self._lines = lines
        self._again: deque[Line] = deque()
        self._encoding = encoding
        self._taken: list[Line] = []
        self.delimiter: str | None = delimiter
        self.beginning, header = self._header(delimiter)
        self.columns = tuple(_distinct(header))

    def __iter__(self) -> Iterator[Row]:
        reader = self._reader()
        while True:
            self._taken = []
            try:
                cells = next(reader)
            except StopIteration:
                return
            except (csv.Error, RowRefused) as exc:
                problem = exc if isinstance(exc, RowRefused) else RowRefused("broken_quotes", _about_quotes(exc))
                # One that nobody closed may have swallowed many good lines.
                self._again.extendleft(reversed(self._taken[1:]))
                del self._taken[1:]
                reader = self._reader()
                yield self._row(problem=problem)
                continue
            yield self._row(cells)

    def _row(self, cells: list[str] | None = None, problem: RowRefused | None = None) -> Row:
        first, last = self._taken[0], self._taken[-1]
        data = first.data if first is last else b"".join(line.data for line in self._taken)
        if cells is None or not any(cells):
            return Row(first.number, last.number, data, problem=problem)
        if any(cells[len(self.columns) :]) or len(cells) < len(self.columns):
            problem = RowRefused(
                "ragged_row",
                f"The row has {len(cells)} cells, the header {len(self.columns)}: a delimiter too many or too few, or "
                "a cell with one in it that is not in quotes.",
            )
            return Row(first.number, last.number, data, problem=problem)
        return Row(first.number, last.number, data, dict(zip(self.columns, cells, strict=False)))

    def _reader(self) -> Iterator[list[str]]:
        return csv.reader(self._texts(), delimiter=self.delimiter or ",", strict=True)

    def _texts(self) -> Iterator[str]:
        """Raises RowRefused: csv hands on what its lines raise."""
        held = 0
        while (line := self._again.popleft() if self._again else next(self._lines, None)) is not None:
            held = held + len(line.data) if self._taken else len(line.data)
            self._taken.append(line)
            if line.too_long or held > LONGEST_LINE_BYTES:
                raise RowRefused("line_too_long", f"The row has more than {LONGEST_LINE_BYTES} bytes.")
            yield text_of(line, self._encoding)

    def _header(self, delimiter: str | None) -> tuple[bytes, list[str]]:
        for line in self._lines:
            try:
                text = text_of(line, self._encoding)
            except RowRefused as exc:
                raise Misused(f"Line {line.number}, the header: {exc}") from exc
            if not text.strip():
                continue
            if "\r" in text.rstrip("\r\n"):
                raise Misused("Its lines end with a carriage return alone; save it with line feeds.")
            text = text.removeprefix("\ufeff")
            chosen = delimiter or max(DELIMITERS, key=lambda one: _fitness(_cells(text, one)))
            self.delimiter = chosen
            header = _split(text, chosen)
            if len(header) == 1 and '"' in header[0]:
                raise Misused(f"Its header cannot be read: {_about_quotes('one is left open')}")
            return line.data, header
        raise Misused("It is empty: there is no header.")


def text_of(line: Line, encoding: str) -> str:
    """Raises RowRefused."""
    try:
        return line.data.decode(encoding)
    except UnicodeDecodeError as exc:
        raise RowRefused(
            "wrong_encoding",
            f"Byte {exc.object[exc.start]:#04x} at column {exc.start + 1} is not {encoding}. Name the encoding that it "
            'has, for example --encoding cp1252 (Excel\'s "CSV" in western Europe) or latin-1.',
        ) from exc


def _split(text: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error as exc:
        raise Misused(f"Its header cannot be read: {_about_quotes(exc)}") from exc


def _cells(text: str, delimiter: str) -> list[str]:
    """A header by this delimiter; none when it cannot be the one."""
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def _fitness(header: list[str]) -> tuple[bool, bool, int]:
    return bool(header), '"' not in "".join(header), len(header)


def _distinct(header: list[str]) -> Iterator[str]:
    """The second ``name`` is ``name#2``; a column without a name is ``#4``, by its place."""
    seen: dict[str, int] = {}
    for place, cell in enumerate(header, start=1):
        name = cell.strip() or f"#{place}"
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"


def _about_quotes(what: object) -> str:
    return (
        f"Its quotes do not match ({what}): a cell with a quote in it stands in quotes itself, the inner one doubled."
    )
