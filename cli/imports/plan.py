"""A file, opened, with everything known that must be before its first row is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, islice

from cli.imports.calls import Calls
from cli.imports.columns import Columns, are_calls, kind_of
from cli.imports.file_lines import OpenedFile, opened
from cli.imports.names import Kind
from cli.imports.problems import Misused
from cli.imports.reading import rows_of
from cli.imports.repeats import Repeats
from cli.imports.rows import Row, Rows
from cli.imports.values import EARLIEST, Reader, as_iso
from cli.imports.work import Digest

SAMPLE_ROWS = 100
_ACCOUNT_PROPERTIES = ("properties.account_id", "properties.company_id", "properties.org_id")


@dataclass(frozen=True)
class Wanted:
    """What somebody said about a file. ``said``: column -> target, as `Columns` takes it; ``said_in``: where."""

    path: str
    kind: Kind | None = None
    said: Mapping[str, str] = field(default_factory=dict)
    said_in: Mapping[str, str] = field(default_factory=dict)
    delimiter: str | None = None
    encoding: str = "utf-8"
    date_format: str | None = None
    decimal_comma: bool = False
    id_column: str | None = None
    as_of: datetime | None = None

    def mapping_digest(self, kind: Kind) -> str:
        """Stands for what columns are taken for."""
        as_of = self.as_of.isoformat() if self.as_of else None
        said = json.dumps(
            [kind, sorted(self.said.items()), self.date_format, self.decimal_comma, self.id_column, as_of]
        )
        return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


@dataclass
class Plan:
    """``rows`` are to be read once; ``sample`` are the first of them. ``as_of`` dates those that have no date."""

    file: OpenedFile
    kind: Kind
    columns: Columns
    rows: Iterator[Row]
    sample: Sequence[Row]
    calls: Calls
    digest: Digest
    as_of: str | None
    delimiter: str | None


@contextmanager
def planned(wanted: Wanted, dated: str | None) -> Iterator[Plan]:
    """``dated`` is what rows of accounts without a date were dated before, or are to be; None leaves it to the file.
    Raises Misused."""
    with opened(wanted.path) as file, closing(Repeats()) as repeats:
        try:
            yield _plan(wanted, dated, file, repeats)
        except Misused as exc:
            if not exc.message.startswith(("It ", "Its ", "Line ")):
                raise
            raise Misused(f"{file.name}: {exc.message}") from exc


def _plan(wanted: Wanted, dated: str | None, file: OpenedFile, repeats: Repeats) -> Plan:
    rows = rows_of(file.lines(), wanted.encoding, wanted.delimiter)
    all_rows = iter(rows)
    sample = list(islice(all_rows, SAMPLE_ROWS))
    _expect_readable(sample)
    names = rows.columns or tuple(dict.fromkeys(name for row in sample for name in row.cells or ()))
    if rows.columns:
        for column in (*wanted.said, *([wanted.id_column] if wanted.id_column else [])):
            if column not in rows.columns:
                where = wanted.said_in.get(column, "--id-column" if column == wanted.id_column else "--map")
                there = ", ".join(rows.columns)
                raise Misused(f'{where}: {file.name} has no column "{column}"; it has: {there}.')
    types = [row.cells[name] for row in sample if row.cells for name in ("type", "Type") if name in row.cells]
    kind = wanted.kind or _kind(wanted, names, types)
    columns = Columns(kind, wanted.said, text=rows.cells_are_text, types_are_calls=are_calls(types))
    columns.settle(names)
    as_of = _as_of(wanted, dated, file) if kind is Kind.ACCOUNTS or wanted.as_of else None
    if rows.columns:
        _expect_enough(columns, rows, as_of)
    return Plan(
        file=file,
        kind=kind,
        columns=columns,
        rows=chain(sample, all_rows),
        sample=sample,
        calls=Calls(
            columns,
            Reader(wanted.date_format, decimal_comma=wanted.decimal_comma),
            as_of=as_of,
            id_column=wanted.id_column,
            repeats_before=repeats.before,
        ),
        digest=Digest(rows.beginning),
        as_of=as_of,
        delimiter=rows.delimiter,
    )


def _expect_readable(sample: Sequence[Row]) -> None:
    """A file in another encoding is a mistake about the file, not about some of its rows."""
    for row in sample:
        if row.problem is not None and row.problem.code == "wrong_encoding":
            raise Misused(f"Line {row.first_line}: {row.problem}")


def _kind(wanted: Wanted, names: Sequence[str], types: Sequence[object]) -> Kind:
    targets = [wanted.said.get(name, name) for name in names]
    found = kind_of(targets, types)
    if found is None:
        raise Misused(
            f"It is not clear what its rows are; its columns are: {', '.join(names)}. Say --kind accounts (each row is "
            "an account, named by a column account_id) or --kind events (each row is an event, with columns event, "
            'user_id or account_id, timestamp), and which column is which: --map "COLUMN=account_id".'
        )
    return found


def _as_of(wanted: Wanted, dated: str | None, file: OpenedFile) -> str:
    if wanted.as_of is not None:
        as_of = wanted.as_of if wanted.as_of.tzinfo else wanted.as_of.replace(tzinfo=UTC)
        if not EARLIEST < as_of <= datetime.now(UTC):
            raise Misused(f"--as-of {wanted.as_of}: nobody knows anything as of then.")
        return as_iso(as_of)
    if dated is not None:
        return dated
    if file.modified_at is None:
        raise Misused("It does not say since when its rows are true: give --as-of 2026-03-31.")
    return as_iso(min(file.modified_at, datetime.now(UTC)).replace(microsecond=0))


def _expect_enough(columns: Columns, rows: Rows, as_of: str | None) -> None:
    there = ", ".join(rows.columns)
    if columns.kind is Kind.ACCOUNTS:
        if not columns.has("account_id"):
            raise Misused(
                f'It has no column that names the account; say which: --map "COLUMN=account_id". It has: {there}.'
            )
        return
    if not columns.has("event", "type"):
        raise Misused(f'It has no column that says what happened; say which: --map "COLUMN=event". It has: {there}.')
    if as_of is None and not columns.has("timestamp"):
        raise Misused(
            f'It has no column that says when; say which: --map "COLUMN=timestamp", or --as-of 2026-03-31 if all of it '
            f"happened then. It has: {there}."
        )
    if not columns.has("user_id", "anonymous_id", "account_id", "properties", "context", *_ACCOUNT_PROPERTIES):
        raise Misused(
            f'It has no column that says who; say which: --map "COLUMN=user_id" or --map "COLUMN=account_id". It has: '
            f"{there}."
        )
