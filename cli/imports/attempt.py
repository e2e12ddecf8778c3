"""One attempt at a file: it begins, goes on where another one stopped, or finds that nothing is to be done."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack, aclosing, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import click

from cli.imports import beginning, words
from cli.imports import journal as journals
from cli.imports.destination import Destination
from cli.imports.file_lines import STDIN
from cli.imports.journal import Journal
from cli.imports.plan import Plan, Wanted, planned
from cli.imports.problems import Misused, Stopped
from cli.imports.rejects import Rejects
from cli.imports.sending import Sender
from cli.imports.values import as_iso
from cli.imports.work import Work, batches, rows_after
from cli.printing import as_json

INTERRUPTED = 130


@dataclass(frozen=True)
class Manner:
    """How it is done, and told."""

    again: bool
    wants_json: bool
    yes: bool
    journal: Path | None
    rejects: Path
    patience_seconds: float


def rehearse(wanted: Wanted, manner: Manner) -> int:
    """The exit status."""
    with planned(wanted, None) as plan:
        if not manner.wants_json:
            words.show_plan(plan, wanted.encoding)
        return 1 if words.rehearse(plan, manner.wants_json) else 0


def send(wanted: Wanted, manner: Manner, to: Destination) -> int:
    """The exit status."""
    old = journals.read(manner.journal) if manner.journal is not None else None
    with ExitStack() as stack:
        if old is not None and old.lines and not manner.again:
            # What is added to a file that was sent as a whole is as new as the file is now.
            plan = stack.enter_context(planned(wanted, None if old.completed else old.as_of))
            beginning.expect_the_same(old, plan, wanted, to)
            rows = rows_after(plan.rows, plan.calls, plan.digest, old)
            if rows is not None:
                plan.rows = rows
                return _go_on(plan, old, manner, to)
            if wanted.path == STDIN:
                raise Misused("Standard input does not begin as it did before; --again sends all of it.")
            _say(manner, beginning.expect_recognised(old, plan))
            stack.close()
        # Who sends accounts again says that they are true now.
        plan = stack.enter_context(planned(wanted, as_iso(_now()) if manner.again else None))
        if not manner.wants_json:
            words.show_plan(plan, wanted.encoding)
        return _send_rows(plan, beginning.fresh(plan, wanted, to, old), manner, to, asks=old is None)


def _go_on(plan: Plan, old: Journal, manner: Manner, to: Destination) -> int:
    following = next(plan.rows, None)
    if following is None and old.completed:
        words.show_unfinished(plan)
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
    _say(manner, f"Going on after line {old.lines} of {plan.file.name}.")
    if sentence := beginning.doubt(old):
        _say(manner, sentence)
    if following is not None:
        plan.rows = chain([following], plan.rows)
    old.completed = False
    return _send_rows(plan, old, manner, to, asks=False)


def _send_rows(plan: Plan, journal: Journal, manner: Manner, to: Destination, *, asks: bool) -> int:
    if asks and plan.columns.guessed and not manner.yes and not manner.wants_json and _somebody_is_there():
        _confirm(f"Send it to {to.name}?")
    asyncio.run(_check(to))
    stopped: str | None = None
    status = 0
    try:
        asyncio.run(_run(plan, journal, manner, to))
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
    words.show_unfinished(plan)
    if not manner.wants_json:
        words.show_end(plan, journal, to, manner.rejects)
        if journal.accepted:
            words.show_next(to)
    return 1 if journal.refused else 0


async def _check(to: Destination) -> None:
    """Raises Misused."""
    async with aclosing(Sender(to.url, to.write_key, patience_seconds=0)) as sender:
        await sender.check()


async def _run(plan: Plan, journal: Journal, manner: Manner, to: Destination) -> None:
    """Raises Stopped."""
    async with aclosing(Sender(to.url, to.write_key, manner.patience_seconds)) as sender:
        with (
            closing(Rejects(manner.rejects, journal.rejects_bytes)) as rejects,
            words.progress(plan, not manner.wants_json) as bar,
        ):
            sender.told = bar.told
            work = Work(sender, journal, manner.journal, rejects)
            key_lives = asyncio.create_task(to.key.stay_alive())
            try:
                await work.run(batches(plan.rows, plan.calls, plan.digest), bar)
            finally:
                key_lives.cancel()


def _confirm(question: str) -> None:
    if not click.confirm(question):
        raise Misused("Nothing was sent.")


def _somebody_is_there() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _say(manner: Manner, sentence: str) -> None:
    click.echo(sentence, err=manner.wants_json)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
