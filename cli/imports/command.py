"""kizashi import: a file of accounts or events, sent as history."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import ExitStack, aclosing, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import click

from cli.imports import beginning, words
from cli.imports import journal as journals
from cli.imports.columns import Kind
from cli.imports.csv_rows import delimiter_of
from cli.imports.destination import WRITE_KEY_VARIABLE, Destination, destination
from cli.imports.file_lines import STDIN
from cli.imports.journal import Journal
from cli.imports.mapping_file import MappingFile, lines_of, load
from cli.imports.plan import Plan, Wanted, planned
from cli.imports.problems import Misused, Stopped
from cli.imports.rejects import Rejects
from cli.imports.sending import Sender
from cli.imports.values import as_iso
from cli.imports.work import Work, batches, pass_over
from cli.printing import as_json

PATIENCE_SECONDS = 600
INTERRUPTED = 130


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


@dataclass(frozen=True)
class Manner:
    """How it is done, and told."""

    again: bool
    wants_json: bool
    yes: bool
    journal: Path | None
    rejects: Path
    patience_seconds: float


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--kind", type=click.Choice([*Kind]), help="What each row is; else its columns say it.")
@click.option("--source", metavar="ID|NAME", help="The source to send it to; needs an API key of the scope admin.")
@click.option("--write-key", metavar="KEY", help=f"One of the source's write keys; else {WRITE_KEY_VARIABLE}.")
@click.option("--map", "said", metavar='"COLUMN=TARGET"', type=Said(), multiple=True, help="Can be repeated.")
@click.option("--mapping", metavar="FILE", type=click.Path(path_type=Path), help="A YAML file that says it.")
@click.option("--as-of", metavar="DATE", type=Moment(), help="When rows without a date are true, or happened.")
@click.option("--date-format", metavar="FORMAT", help='How dates are written, as "%d.%m.%Y"; ISO is read besides.')
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
      3    it stopped in the middle; the same command goes on there (130 after Ctrl-C)

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
        id_column=id_column or kept.id_column,
        as_of=as_of or kept.as_of,
    )
    manner = Manner(
        again=again,
        wants_json=wants_json,
        yes=yes,
        journal=journal or (None if file == STDIN else Path(f"{file}{journals.ENDING}")),
        rejects=rejects or Path("import.rejects.jsonl" if file == STDIN else f"{file}.rejects.jsonl"),
        patience_seconds=patience,
    )
    if Path(file) in (manner.journal, manner.rejects):
        raise Misused("The journal and the refused rows need files of their own.")
    try:
        if dry_run:
            sys.exit(_rehearse(wanted, manner))
        with destination(source, write_key) as to:
            sys.exit(_import(wanted, manner, to))
    except (KeyboardInterrupt, click.Abort):
        sys.exit(INTERRUPTED)


def _rehearse(wanted: Wanted, manner: Manner) -> int:
    with planned(wanted, None) as plan:
        if not manner.wants_json:
            words.show_plan(plan, wanted.encoding)
        return 1 if words.rehearse(plan, manner.wants_json) else 0


def _import(wanted: Wanted, manner: Manner, to: Destination) -> int:
    """The exit status."""
    old = journals.read(manner.journal) if manner.journal is not None else None
    with ExitStack() as stack:
        if old is not None and not manner.again:
            # What is added to a file that was sent as a whole is as new as the file is now.
            plan = stack.enter_context(planned(wanted, None if old.completed else old.as_of))
            beginning.expect_the_same(old, plan, wanted, to)
            if pass_over(plan.rows, plan.calls, plan.digest, old):
                return _go_on(plan, old, manner, to)
            if wanted.path == STDIN:
                raise Misused("Standard input does not begin as it did before; --again sends all of it.")
            _say(manner, beginning.expect_recognised(old, plan))
            stack.close()
        # Who sends accounts again says that they are true now.
        plan = stack.enter_context(planned(wanted, as_iso(_now()) if manner.again else None))
        if not manner.wants_json:
            words.show_plan(plan, wanted.encoding)
        return _send(plan, beginning.fresh(plan, wanted, to, old), manner, to, asks=old is None)


def _go_on(plan: Plan, old: Journal, manner: Manner, to: Destination) -> int:
    following = next(plan.rows, None)
    if following is None and old.completed:
        refused = sum(old.refused.values())
        _say(
            manner,
            f"All of {plan.file.name} was sent on {old.last_sent_at:%Y-%m-%d %H:%M} UTC; --again sends it again.",
        )
        if refused and not manner.wants_json:
            words.show_refused(old, manner.rejects)
        if manner.wants_json:
            as_json(words.summary(plan, old, to, manner.rejects, None))
        return 1 if refused else 0
    if old.lines:
        _say(manner, f"Going on after line {old.lines} of {plan.file.name}.")
    if sentence := beginning.doubt(old):
        _say(manner, sentence)
    if following is not None:
        plan.rows = chain([following], plan.rows)
    old.completed = False
    return _send(plan, old, manner, to, asks=False)


def _send(plan: Plan, journal: Journal, manner: Manner, to: Destination, *, asks: bool) -> int:
    stopped: str | None = None
    status = 0
    try:
        asyncio.run(_run(plan, journal, manner, to, asks))
    except Stopped as exc:
        stopped, status = exc.message, exc.exit_code
    except KeyboardInterrupt:
        stopped, status = "It was interrupted.", INTERRUPTED
    if manner.wants_json:
        as_json(words.summary(plan, journal, to, manner.rejects, stopped))
    if stopped is not None:
        goes_on = "The same command goes on there." if manner.journal is not None else ""
        click.echo(f"Stopped after line {journal.lines} of {plan.file.name}: {stopped} {goes_on}".rstrip(), err=True)
        return status
    if not manner.wants_json:
        words.show_end(plan, journal, to, manner.rejects)
        words.show_next(to)
    return 1 if journal.refused else 0


async def _run(plan: Plan, journal: Journal, manner: Manner, to: Destination, asks: bool) -> None:
    """Raises Stopped."""
    async with aclosing(Sender(to.url, to.write_key, manner.patience_seconds)) as sender:
        await sender.check()
        if asks and plan.columns.guessed and not manner.yes and not manner.wants_json and _somebody_is_there():
            _confirm(f"Send it to {to.name}?")
        with (
            closing(Rejects(manner.rejects, journal.rejects_bytes)) as rejects,
            words.progress(plan, not manner.wants_json) as bar,
        ):
            sender.told = bar.told
            work = Work(sender, journal, manner.journal, rejects)
            await work.run(batches(plan.rows, plan.calls, plan.digest), bar)


def _confirm(question: str) -> None:
    if not click.confirm(question):
        raise Misused("Nothing was sent.")


def _somebody_is_there() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _say(manner: Manner, sentence: str) -> None:
    click.echo(sentence, err=manner.wants_json)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
