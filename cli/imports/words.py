"""What people are shown: what a file is taken for, how far it is, how it ended, and what to do next."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import click

from cli.imports.destination import Destination
from cli.imports.journal import Journal
from cli.imports.names import Kind
from cli.imports.plan import Plan
from cli.imports.rejects import Refused
from cli.imports.work import batches
from cli.printing import as_json, columns, counted, line
from cli.sources import WHILE_IMPORTING

SHOWN_CALLS = 3
SHOWN_REFUSALS = 3
"""Of each code: one may not show what they have in common."""
BAR_COLUMNS, ETA_COLUMNS = 20, 26
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def show_plan(plan: Plan, encoding: str) -> None:
    form = "JSON lines"
    if plan.delimiter is not None:
        form = f"CSV with {_DELIMITERS.get(plan.delimiter, plan.delimiter)}, {encoding}"
    line(f"{plan.file.name}: {plan.kind}, {form}.")
    columns(
        ("column", "becomes", ""),
        [(name, target, because) for name, (target, because) in plan.columns.found.items()],
        empty="",
    )
    if plan.as_of is not None and not plan.columns.has("timestamp"):
        what = "What it says is true" if plan.kind is Kind.ACCOUNTS else "What has no date happened"
        line(f"{what} as of {plan.as_of}; --as-of says another date.")


class Bar:
    """Of a terminal: how much of what this attempt has to send is acknowledged, and what is waited for."""

    def __init__(self, plan: Plan, bar: Any | None) -> None:
        self._plan = plan
        self._bar = bar
        self._begun_at: int | None = None
        self.waiting_for: str | None = None

    def told(self, waiting_for: str | None) -> None:
        self.waiting_for = waiting_for

    def show(self, journal: Journal, read_to: int) -> None:
        if self._bar is None:
            return
        # By lines, for of a compressed file all may be read long before its rows are sent.
        acknowledged = self._plan.file.read_bytes * journal.lines // max(1, read_to)
        if self._begun_at is None:
            # What an earlier attempt sent took none of this one's time, by which the rest of it is foretold.
            self._begun_at = acknowledged
            self._bar.length = max(1, self._bar.length - acknowledged)
        refused = sum(journal.refused.values())
        text = self.waiting_for or f"{journal.rows:,} rows{f', {refused:,} refused' if refused else ''}"
        self._bar.update(max(0, acknowledged - self._begun_at - self._bar.pos), text[: self._room()])
        if self._bar.pos:
            self._bar.make_step(0)  # waiting makes the rest longer too, which update counts only after a step
        self._bar.render_progress()

    def _room(self) -> int:
        """For what stands behind the bar: a line that is broken cannot be written again."""
        return max(0, get_terminal_size().columns - len(self._plan.file.name) - BAR_COLUMNS - ETA_COLUMNS)


@contextmanager
def progress(plan: Plan, wanted: bool) -> Iterator[Bar]:
    """On standard error, if that is a terminal and the file has a length."""
    if not wanted or plan.file.size_bytes is None or not sys.stderr.isatty():
        yield Bar(plan, None)
        return
    with click.progressbar(
        length=plan.file.size_bytes,
        label=plan.file.name,
        file=sys.stderr,
        width=BAR_COLUMNS,
        item_show_func=lambda text: text if isinstance(text, str) else "",
    ) as bar:
        yield Bar(plan, bar)


def rehearse(plan: Plan, wants_json: bool) -> int:
    """Read all of the file and send nothing. How many rows would be refused before they are sent."""
    refused: Counter[str] = Counter()
    examples: dict[str, list[Refused]] = {}
    rows = 0
    shown: list[Any] = []
    for batch in batches(plan.rows, plan.calls, plan.digest):
        rows += batch.count
        shown += [json.loads(call) for call in batch.calls[: SHOWN_CALLS - len(shown)]]
        for one in batch.refused:
            refused[one.code] += 1
            if refused[one.code] <= SHOWN_REFUSALS:
                examples.setdefault(one.code, []).append(one)
    show_unfinished(plan)
    if wants_json:
        as_json(
            {
                "file": plan.file.name,
                "kind": plan.kind,
                "columns": {name: str(target) for name, (target, _) in plan.columns.found.items()},
                "rows": rows,
                "would_be_refused": dict(refused),
                "refusals": [
                    {"line": one.line, "code": one.code, "message": one.message} for one in chain(*examples.values())
                ],
                "calls": shown,
            }
        )
        return refused.total()
    click.echo()
    for call in shown:
        line(json.dumps(call, ensure_ascii=False))
    click.echo()
    line(f"{counted(rows, 'row')}; nothing was sent.")
    _show_foreseen(refused, examples)
    return refused.total()


def _show_foreseen(refused: Mapping[str, int], examples: Mapping[str, Sequence[Refused]]) -> None:
    if refused:
        line(f"{counted(sum(refused.values()), 'row')} would be refused, and more perhaps by ingest:")
        columns(
            ("reason", "rows", "as in", ""),
            [
                (*((code, refused[code]) if one is some[0] else ("", "")), f"line {one.line}", one.message)
                for code, some in examples.items()
                for one in some
            ],
            empty="",
        )


def show_end(plan: Plan, journal: Journal, to: Destination, rejects: Path) -> None:
    line(f"Sent {counted(journal.accepted, 'row')} of {plan.file.name} to {to.name}.")
    show_refused(journal, rejects)


def show_unfinished(plan: Plan) -> None:
    if (number := plan.file.unfinished_line) is not None:
        click.echo(
            f"Line {number} has no end yet, and somebody is writing {plan.file.name}: it is not sent. Run the same "
            "command when the file is written.",
            err=True,
        )


def show_refused(journal: Journal, rejects: Path) -> None:
    if journal.refused:
        refused = sum(journal.refused.values())
        line(f"{counted(refused, 'row')} refused; {rejects} has each with its line and reason:")
        columns(("reason", "rows"), sorted(journal.refused.items()), empty="")
        line("Mend them in the file and run the same command: rows that were sent have no second effect.")


def show_next(to: Destination) -> None:
    line("Next: `kizashi tail` shows what arrives, `kizashi accounts` what came of it, within seconds.")
    if to.source is None or to.source["state"] == "importing":
        number = to.source_id if to.source_id is not None else "ID"
        importing = "It is importing" if to.source is not None else "A source is importing"
        line(f"{importing} until all of its history is sent and you say so: `kizashi sources live {number}`.")
        line(WHILE_IMPORTING)


def summary(plan: Plan, journal: Journal, to: Destination, rejects: Path, stopped: str | None) -> dict[str, Any]:
    """For scripts."""
    return {
        "file": plan.file.name,
        "kind": plan.kind,
        "source": to.source_id,
        "rows": journal.rows,
        "accepted": journal.accepted,
        "refused": sum(journal.refused.values()),
        "refused_by_code": journal.refused,
        "rejects": str(rejects) if journal.refused else None,
        "lines": journal.lines,
        "complete": journal.completed,
        "stopped": stopped,
    }
