"""The workspaces of the installation, and whether their sources send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from cli.doctor.findings import Finding, ok, warning
from cli.doctor.schemas import as_role, reader_of
from cli.printing import plain
from libs.common.db import Database, text
from libs.common.errors import RetryLater

SILENT_DAYS = 2


@dataclass(frozen=True)
class Source:
    """``last_day`` is the domain day on which something of it arrived last; None: never, or, where ``is_known`` is
    False, nobody could tell in time."""

    workspace: str
    id: int
    name: str
    is_importing: bool
    last_day: date | None
    is_known: bool


async def ask_workspaces(url: str) -> Mapping[int, str]:
    """Those that have an API key, which is how one is recognised: their rows show only to who names them."""
    async with as_role(url, reader_of("access"), "access") as database:
        async with database.transaction() as connection:
            found = await connection.execute(text("SELECT DISTINCT workspace_id FROM api_key"))
            numbers = [row.workspace_id for row in found]
        async with database.transaction(numbers) as connection:
            rows = await connection.execute(text("SELECT workspace_id, name FROM workspace ORDER BY workspace_id"))
            return {row.workspace_id: plain(row.name) for row in rows}


async def ask_sources(url: str, workspaces: Mapping[int, str]) -> Sequence[Source]:
    async with as_role(url, reader_of("health"), "health") as database:
        last = await _last_days(database, workspaces)
    async with as_role(url, reader_of("ingest"), "ingest") as database, database.transaction(workspaces) as connection:
        rows = await connection.execute(
            text("SELECT workspace_id, source_id, name, state FROM source ORDER BY workspace_id, source_id")
        )
        return [
            Source(
                workspace=workspaces[row.workspace_id],
                id=row.source_id,
                name=plain(row.name),
                is_importing=row.state == "importing",
                last_day=(last or {}).get((row.workspace_id, row.source_id)),
                is_known=last is not None,
            )
            for row in rows
        ]


async def _last_days(database: Database, workspaces: Mapping[int, str]) -> Mapping[tuple[int, int], date] | None:
    """None where that takes long: all usage must be looked at, since it is kept by user and not by source."""
    try:
        async with database.transaction(workspaces) as connection:
            await connection.execute(text("SET LOCAL statement_timeout = '3s'"))
            rows = await connection.execute(
                text("SELECT workspace_id, source, max(arrival_day) AS last FROM usage GROUP BY workspace_id, source")
            )
            return {(row.workspace_id, row.source): row.last for row in rows}
    except RetryLater:
        return None


def judge_workspaces(workspaces: Mapping[int, str]) -> Iterator[Finding]:
    if not workspaces:
        yield warning(
            "no_workspace",
            "There is no workspace yet, so nobody can send anything.",
            "Make one: python -m services.ingest.bootstrap --workspace NAME --source NAME",
        )


def judge_sources(sources: Sequence[Source], today: date) -> Iterator[Finding]:
    """``today`` is domain time."""
    with_live_ones = {one.workspace for one in sources if not one.is_importing}
    for one in sources:
        name = f"The source {one.name} ({one.id}) of {one.workspace}"
        if one.is_importing:
            yield warning(
                "source_importing",
                f"{name} is importing: what it sends raises no alert"
                + (
                    ", and what it says of accounts that a live source knows as well does not count yet."
                    if one.workspace in with_live_ones
                    else "."
                ),
                f"When its history is complete: kizashi sources live {one.id}",
                about=one.name,
            )
        elif not one.is_known:
            yield ok("source", f"{name} is live; when it sent last would take too long to find out.", about=one.name)
        elif one.last_day is None:
            yield warning(
                "source_silent",
                f"{name} has sent nothing yet.",
                "Give its write key to the product's SDK.",
                about=one.name,
            )
        elif today - one.last_day > timedelta(days=SILENT_DAYS):
            yield warning(
                "source_silent",
                f"{name} has sent nothing since {one.last_day}; its accounts will be called silent.",
                "See whether the product still sends, and with a write key that works: kizashi keys list",
                about=one.name,
            )
        else:
            yield ok("source", f"{name} is live, and sent something on {one.last_day}.", about=one.name)
