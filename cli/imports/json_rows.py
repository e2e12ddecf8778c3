"""JSON lines: one object on each line, as SDKs and warehouses export them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec

from cli.imports.csv_rows import text_of
from cli.imports.file_lines import LONGEST_LINE_BYTES, Line
from cli.imports.problems import RowRefused
from cli.imports.rows import Row

_decode = msgspec.json.Decoder(dict[str, object]).decode


class JsonRows:
    columns: tuple[str, ...] = ()
    beginning = b""
    cells_are_text = False
    delimiter: str | None = None

    def __init__(self, lines: Iterator[Line], encoding: str) -> None:
        self._lines = lines
        self._encoding = encoding

    def __iter__(self) -> Iterator[Row]:
        for line in self._lines:
            try:
                yield Row(line.number, line.number, line.data, cells=self._cells(line))
            except RowRefused as problem:
                yield Row(line.number, line.number, line.data, problem=problem)

    def _cells(self, line: Line) -> dict[str, object] | None:
        if line.too_long:
            raise RowRefused("line_too_long", f"The line has more than {LONGEST_LINE_BYTES} bytes.")
        text = text_of(line, self._encoding).strip().removeprefix("\ufeff")
        if not text:
            return None
        try:
            return _decode(text)
        except msgspec.ValidationError as exc:
            raise RowRefused("not_an_object", "The line is JSON, but no object.") from exc
        except msgspec.DecodeError as exc:
            if cells := _without_nan(text):
                return cells
            raise RowRefused("not_json", f"The line is not JSON: {exc}.") from exc
        except RecursionError as exc:
            raise RowRefused("not_json", "The line is nested too deeply to be read.") from exc


def _without_nan(text: str) -> dict[str, object] | None:
    """Python writes NaN and Infinity, which are no JSON; as null they cost nothing."""
    if "NaN" not in text and "Infinity" not in text:
        return None
    try:
        found = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
