"""kizashi import: a file of accounts or events, sent as history."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from cli.imports import attempt
from cli.imports import journal as journals
from cli.imports.csv_rows import delimiter_of
from cli.imports.destination import WRITE_KEY_VARIABLE, destination
from cli.imports.file_lines import STDIN
from cli.imports.interruption import as_after_ctrl_c
from cli.imports.mapping_file import MappingFile, lines_of, load
from cli.imports.names import Kind
from cli.imports.own_files import expect_own_files
from cli.imports.plan import Wanted

PATIENCE_SECONDS = 600


class Said(click.ParamType[tuple[str, str]]):
    """COLUMN=TARGET."""

    name = "mapping"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        column, equals, target = value.rpartition("=")
        if not equals or not column:
            self.fail(
                f'{value!r} is no mapping: write "COLUMN=TARGET", or "COLUMN=" to leave the column out.', param, ctx
            )
        return column, target


class Moment(click.ParamType[datetime]):
    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no ISO date, as 2026-03-31 or 2026-03-31T12:00:00Z.", param, ctx)


class Delimiter(click.ParamType[str]):
    name = "delimiter"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return delimiter_of(value)
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--kind", type=click.Choice([one.value for one in Kind]), help="What each row is; else its columns say it."
)
@click.option("--source", metavar="ID|NAME", help="The source to send it to; needs an API key of the scope admin.")
@click.option("--write-key", metavar="KEY", help=f"One of the source's write keys; else {WRITE_KEY_VARIABLE}.")
@click.option("--map", "said", metavar='"COLUMN=TARGET"', type=Said(), multiple=True, help="Can be repeated.")
@click.option("--mapping", metavar="FILE", type=click.Path(path_type=Path), help="A YAML file that says it.")
@click.option("--as-of", metavar="DATE", type=Moment(), help="When rows without a date are true, or happened.")
@click.option("--date-format", metavar="FORMAT", help='How dates are written, as "%d.%m.%Y"; ISO is read besides.')
@click.option("--decimal-comma", is_flag=True, help="Numbers are written as 12.500,00: a point parts thousands.")
@click.option("--id-column", metavar="COLUMN", help="A column whose value no two events of one name share.")
@click.option("--delimiter", metavar="CHAR", type=Delimiter(), help="Of a CSV file; else the header shows it.")
@click.option("--encoding", metavar="NAME", help="Of the file; else utf-8.")
@click.option("--dry-run", is_flag=True, help="Show what would be sent, count what would be refused, send nothing.")
@click.option("--again", is_flag=True, help="Send all of a file that was sent before.")
@click.option("--yes", is_flag=True, help="Do not ask whether the columns are understood.")
@click.option("--json", "wants_json", is_flag=True, help="A summary for scripts.")
@click.option(
    "--journal", metavar="FILE", type=click.Path(path_type=Path), help="How far it is; else FILE.import.json."
)
@click.option(
    "--rejects", metavar="FILE", type=click.Path(path_type=Path), help="Refused rows; else FILE.rejects.jsonl."
)
@click.option(
    "--patience",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=PATIENCE_SECONDS,
    help=f"Give up when nothing was accepted for so long; else {PATIENCE_SECONDS}.",
)
def import_file(
    file: str,
    kind: str | None,
    source: str | None,
    write_key: str | None,
    said: Sequence[tuple[str, str]],
    mapping: Path | None,
    as_of: datetime | None,
    date_format: str | None,
    decimal_comma: bool,
    id_column: str | None,
    delimiter: str | None,
    encoding: str | None,
    dry_run: bool,
    again: bool,
    yes: bool,
    wants_json: bool,
    journal: Path | None,
    rejects: Path | None,
    patience: float,
) -> None:
    """Send a file of accounts or events as history: it raises no alert, and each row counts once.

    CSV with a header, or JSON lines as SDKs export them; either may be gzipped; - reads standard input. Accounts: each
    row is an account and what is true of it. Events: each row is something that happened. A row that cannot be taken
    costs itself alone, and stands in a file beside, with its line and the reason.

    A file that was interrupted goes on where it stopped when the same command is run again; one that was sent is not
    sent again, but for rows that were added. docs/importing.md says more.

    \b
    Exit status:
      0    every row was sent
      1    some were refused
      2    nothing was sent: the command or the file must be another
      3    it stopped in the middle; the same command goes on there (130 after Ctrl-C or a TERM)

    \b
    Examples:
      kizashi import accounts.csv --dry-run
      kizashi import accounts.csv --map "Company ID=account_id" --map "Notes="
      kizashi import events.jsonl.gz --source "Mobile app"
    """
    kept = load(mapping) if mapping is not None else MappingFile()
    wanted = Wanted(
        path=file,
        kind=Kind(kind) if kind else kept.kind,
        said=kept.columns | dict(said),
        said_in=lines_of(mapping, kept) if mapping is not None else {},
        delimiter=delimiter or kept.delimiter,
        encoding=encoding or kept.encoding or "utf-8",
        date_format=date_format or kept.date_format,
        decimal_comma=decimal_comma or kept.decimal_comma,
        id_column=id_column or kept.id_column,
        as_of=as_of or kept.as_of,
    )
    manner = attempt.Manner(
        again=again,
        wants_json=wants_json,
        yes=yes,
        journal=journal or (None if file == STDIN else Path(f"{file}{journals.ENDING}")),
        rejects=rejects or Path("import.rejects.jsonl" if file == STDIN else f"{file}.rejects.jsonl"),
        patience_seconds=patience,
    )
    expect_own_files(file, mapping, manner.journal, manner.rejects)
    try:
        if dry_run:
            sys.exit(attempt.rehearse(wanted, manner))
        with as_after_ctrl_c(), destination(source, write_key) as to:
            sys.exit(attempt.send(wanted, manner, to))
    except (KeyboardInterrupt, click.Abort):
        sys.exit(attempt.INTERRUPTED)
