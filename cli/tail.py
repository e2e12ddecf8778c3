"""kizashi tail: did my event arrive? Events as they come, with their account, and what was refused, with the reason."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from cli.apis import Apis, Unreachable
from cli.belonging import Account, Belonging
from cli.printing import counted, plain
from cli.sources import source_named

POLL_SECONDS = 1.0
KEPT = 100
"""Of each source, events and rejects each."""
AT_FIRST = 10
"""Lines of what came before, when more are waited for."""
LONG_AGO = timedelta(days=1)
"""From then on an event's own date is shown beside the time of its arrival."""
BEGINNING = 80
"""Characters that are shown of a body that was refused."""

TIMES = {
    "timestamp_missing": "without timestamp",
    "timestamp_unreadable": "timestamp unreadable, has the time of arrival",
    "skew_corrected": "sender's clock is wrong, time corrected",
    "timestamp_in_future": "timestamp in the future, has the time of arrival",
}


@click.command("tail")
@click.option("--source", metavar="SOURCE", help="Only this one, by its number or name; else all.")
@click.option("--rejects", "only_rejects", is_flag=True, help="Only what was refused.")
@click.option("--json", "wants_json", is_flag=True, help="One JSON object a line, for scripts.")
@click.option("--no-follow", is_flag=True, help="Show the last 100 of each source, and end.")
def tail(source: str | None, only_rejects: bool, wants_json: bool, no_follow: bool) -> None:
    """Show events as they come: which account each counts to and by which rule, or why it was refused.

    Within about two seconds. At most the last 100 of a source are kept, so of a busy one you see a part. Where an event
    names no account, health is asked where its user belongs by group calls. What came with a wrong write key belongs to
    no source, so it is not here: the sender was answered 401.

    Times are of arrival, in UTC; the date of an event that happened more than a day before stands at its end. Ctrl-C
    ends it.

    \b
    Examples:
      kizashi tail                        everything that arrives from now on, after the last ten
      kizashi tail --source 1 --rejects   what one source sends in vain
      kizashi tail --no-follow --json | jq 'select(.account == null)'
    """
    apis = Apis.found()
    watch = _Watch(apis, source, only_rejects)
    show = _Lines(Belonging(apis), wants_json)
    try:
        if no_follow:
            show(watch.news())
        else:
            _follow(watch, show)
    except KeyboardInterrupt:
        click.echo(err=True)


def _follow(watch: _Watch, show: _Lines) -> None:
    """For ever. What does not answer is waited for."""
    silent = False
    at_first = True
    while True:
        try:
            news = watch.news()
        except Unreachable as problem:
            if not silent:
                click.echo(plain(f"{problem.message} Waiting for it."), err=True)
            silent = True
        else:
            if silent:
                click.echo("It answers again.", err=True)
            elif at_first and not news:
                click.echo("Nothing has arrived lately; waiting. Ctrl-C ends this.", err=True)
            silent = False
            show(news, last=AT_FIRST if at_first else None)
            at_first = False
        time.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class Arrived:
    """An event or a refusal as the API tells it. ``label`` names the source where there are several."""

    source_id: int
    label: str
    was_taken: bool
    row: dict[str, Any]


@dataclass
class _Cursors:
    recent: int = 0
    rejects: int = 0


@dataclass
class _Watch:
    """What is new at ingest since it was asked last. A source that is made meanwhile is seen too."""

    apis: Apis
    source: str | None
    only_rejects: bool
    cursors: dict[int, _Cursors] = field(default_factory=dict)

    def news(self) -> list[Arrived]:
        """In the order of arrival. Raises ClickException, Unreachable when asking again may help."""
        moved: dict[int, _Cursors] = {}
        sources = self._sources()
        labels = {source["id"]: f"{source['name']:<12}  " if len(sources) > 1 else "" for source in sources}
        news = [one for source_id, label in labels.items() for one in self._of(source_id, label, moved)]
        self.cursors = moved  # not before everything has answered, or something would be passed over
        return sorted(news, key=lambda one: datetime.fromisoformat(one.row["received_at"]))

    def _sources(self) -> list[dict[str, Any]]:
        if self.source is not None:
            return [source_named(self.apis, self.source)]
        found: list[dict[str, Any]] = self.apis.get("ingest", "/v1/sources")
        return found

    def _of(self, source_id: int, label: str, moved: dict[int, _Cursors]) -> Iterator[Arrived]:
        cursors = moved[source_id] = replace(self.cursors.get(source_id, _Cursors()))
        path = f"/v1/sources/{source_id}"
        if not self.only_rejects:
            answer = self.apis.get("ingest", f"{path}/recent", after=cursors.recent)
            if cursors.recent and len(answer["events"]) == KEPT:
                click.echo(f"Source {source_id} sends more than is kept for this: here are its last {KEPT}.", err=True)
            cursors.recent = answer["cursor"]
            yield from (Arrived(source_id, label, True, row) for row in reversed(answer["events"]))
        answer = self.apis.get("ingest", f"{path}/rejects", after=cursors.rejects)
        cursors.rejects = answer["cursor"]
        yield from (Arrived(source_id, label, False, row) for row in reversed(answer["rejects"]))


class _Lines:
    """Prints."""

    def __init__(self, belonging: Belonging, wants_json: bool) -> None:
        self._belonging = belonging
        self._wants_json = wants_json

    def __call__(self, news: list[Arrived], last: int | None = None) -> None:
        """``last``: only so many of them."""
        for one in news:
            if one.was_taken:
                self._belonging.hear(one.row)
        for one in news if last is None else news[-last:]:
            if self._wants_json:
                click.echo(json.dumps(self._as_object(one), ensure_ascii=False))
            elif one.was_taken:
                click.echo(taken_line(one, self._belonging.of(one.row)))
            else:
                click.echo(refused_line(one))

    def _as_object(self, one: Arrived) -> dict[str, Any]:
        told: dict[str, Any] = {"source": one.source_id, "taken": one.was_taken}
        if one.was_taken:
            account = self._belonging.of(one.row)
            told |= {"account": account.id, "rule": account.rule}
        return told | one.row


def taken_line(one: Arrived, account: Account) -> str:
    row = one.row
    what = row["kind"] if row["event"].startswith("$") else f"{row['kind']} {row['event']}"
    who = row["user_id"] or (f"visitor {row['anonymous_id']}" if row["anonymous_id"] else "no user")
    where = f"{account.id} (by {account.rule})" if account.id is not None else f"no account: {account.rule}"
    notes = [
        *(TIMES.get(flag, flag) for flag in row["flags"]),
        *(["history"] if row["lane"] == "import" else []),
        *_own_date(row),
    ]
    return plain(
        f"{_time(row)}  {one.label}{what:<30}  {who:<20}  {where}" + (f"  [{', '.join(notes)}]" if notes else ""),
    )


def _own_date(row: dict[str, Any]) -> Iterator[str]:
    happened, arrived = (datetime.fromisoformat(row[name]) for name in ("occurred_at", "received_at"))
    if abs(arrived - happened) > LONG_AGO:
        yield f"happened {happened.astimezone(UTC):%Y-%m-%d %H:%M}"


def refused_line(one: Arrived) -> str:
    row = one.row
    if row["status"] is not None:
        what = f"{counted(row['times'], 'request')} answered {row['status']}"
    elif row["times"] > 1:
        what = f"{counted(row['times'], 'event')} from {row['index']} on"
    else:
        what = f"event {row['index']}" + (f" ({row['message_id']})" if row["message_id"] else "")
    told = f"{_time(row)}  {one.label}refused {row['code']}: {what}: {row['message']}"
    more = f" → {row['remedy']}" if row["remedy"] else ""
    return click.style(plain(told), fg="red") + plain(more + _beginning(row))


def _beginning(row: dict[str, Any]) -> str:
    """Of a body that was refused as a whole; an event that was refused is named by its place."""
    if row["status"] is None or not row["original"]:
        return ""
    if row["original_encoding"] != "utf-8":
        return f" It is not text; in base64 it begins {row['original'][:BEGINNING]}"
    more = "…" if len(row["original"]) > BEGINNING or row["original_bytes"] > len(row["original"].encode()) else ""
    return f" It begins: {row['original'][:BEGINNING]}{more}"


def _time(row: dict[str, Any]) -> str:
    return f"{datetime.fromisoformat(row['received_at']):%H:%M:%S}"
