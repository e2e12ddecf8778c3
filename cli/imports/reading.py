"""Tells what a file is by how it begins."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from itertools import chain

from cli.imports.csv_rows import CsvRows
from cli.imports.file_lines import Line
from cli.imports.json_rows import JsonRows
from cli.imports.problems import Misused
from cli.imports.rows import Rows

_ZIP, _OLD_OFFICE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_STRUCTURE = "\r\n,;\t|{}\"'"


def rows_of(lines: Iterator[Line], encoding: str, delimiter: str | None) -> Rows:
    """Rows of JSON lines or of CSV. Raises Misused for what is neither."""
    _expect_known(encoding)
    held: list[Line] = []
    for line in lines:
        held.append(line)
        if line.number == 1 and line.data.startswith((_ZIP, _OLD_OFFICE)):
            raise Misused(
                "It is no text but a workbook, as of Excel, or an archive (zip): save the sheet as CSV, or unpack it, "
                "and import that."
            )
        if line.data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise Misused("It is UTF-16; save it as UTF-8.")
        if begins := line.data.removeprefix(codecs.BOM_UTF8).strip():
            break
    else:
        raise Misused("It is empty.")
    whole = chain(held, lines)
    if begins.startswith(b"["):
        raise Misused("It is one JSON array; make lines of it: jq -c '.[]' FILE | kizashi import -")
    if begins.startswith(b"{"):
        return JsonRows(whole, encoding)
    return CsvRows(whole, encoding, delimiter)


def _expect_known(encoding: str) -> None:
    try:
        tells_lines = _STRUCTURE.encode(encoding) == _STRUCTURE.encode("ascii")
    except (LookupError, UnicodeError, TypeError):
        raise Misused(f"There is no encoding {encoding}; try utf-8, cp1252, latin-1 or shift_jis.") from None
    if not tells_lines:
        raise Misused(f"Lines cannot be told in {encoding}; save the file as UTF-8.")
