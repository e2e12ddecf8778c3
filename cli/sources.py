"""kizashi sources: the products that send events, new ones, and the end of their history."""

from __future__ import annotations

from typing import Any

import click

from cli.apis import Apis
from cli.belonging import those_without_account
from cli.options import json_option, yes_option
from cli.printing import as_json, columns, line, moment, plain

PATH = "/v1/sources"
WHILE_IMPORTING = (
    "Until then what it sends raises no alert, and does not count at all for an account that another source, a live "
    "one, knows too."
)

source_argument = click.argument("wanted", metavar="SOURCE")


def source_named(apis: Apis, wanted: str) -> dict[str, Any]:
    """The source with this number, else with this name. Raises ClickException."""
    found: list[dict[str, Any]] = apis.get("ingest", PATH)
    for one in (*(one for one in found if str(one["id"]) == wanted), *(one for one in found if one["name"] == wanted)):
        return one
    there = ", ".join(f"{one['id']} ({one['name']})" for one in found) or "none yet"
    raise click.ClickException(
        plain(f"There is no source {wanted}; there are: {there}. `kizashi sources create NAME` makes one.")
    )


@click.group("sources", invoke_without_command=True)
@json_option
@click.pass_context
def sources(ctx: click.Context, wants_json: bool) -> None:
    """The products that send events. Without a command: list them. SOURCE is a number or a name.

    A source is importing until its history is complete and somebody marks it live; until then it raises no alert.

    \b
    Examples:
      kizashi sources                       what sends, importing or live
      kizashi sources show 2                whether it is connected well
      kizashi sources create "Mobile app"   another product; then a key for it: kizashi keys create --source ID
      kizashi sources live 2                its history is complete
    """
    if ctx.invoked_subcommand is None:
        _list(wants_json)


@sources.command("list")
@json_option
def list_sources(wants_json: bool) -> None:
    """List them: importing, or live since when."""
    _list(wants_json)


def _list(wants_json: bool) -> None:
    found = Apis.found().get("ingest", PATH)
    if wants_json:
        as_json(found)
        return
    columns(
        ("id", "name", "state", "live since"),
        [(one["id"], one["name"], one["state"], moment(one["live_at"])) for one in found],
        empty="No sources yet: kizashi sources create NAME",
    )


@sources.command("show")
@source_argument
@json_option
def show(wanted: str, wants_json: bool) -> None:
    """Show one source, and whether its product is connected well.

    That is what its last events say. Those without an account are held against all group calls that health knows;
    `kizashi tail` shows them one by one.
    """
    apis = Apis.found()
    source_id = source_named(apis, wanted)["id"]
    path = f"{PATH}/{source_id}"
    found = apis.get("ingest", path)
    if wants_json:
        as_json(found)
        return
    state = "importing" if found["live_at"] is None else f"live since {moment(found['live_at'])}"
    line(f"Source {source_id}, {found['name']}, is {state}.")
    if not found["findings"]:
        line("Its last events give no cause for concern.")
    for finding in found["findings"]:
        click.echo()
        line(finding["sentence"])
        if finding["code"] == "no_account":
            line(those_without_account(apis, apis.get("ingest", f"{path}/recent")["events"]))
        line(f"→ {finding['remedy']}")


@sources.command("create")
@click.argument("name")
@json_option
def create(name: str, wants_json: bool) -> None:
    """Make a source for another product. It is importing until it is marked live."""
    made = Apis.found().post("ingest", PATH, {"name": name})
    if wants_json:
        as_json(made)
        return
    line(f"Made source {made['id']}, {made['name']}. It is importing until `kizashi sources live {made['id']}`.")
    line(WHILE_IMPORTING)
    line(f"Next: kizashi keys create --source {made['id']}, and give that key to the product's SDK.")


@sources.command("live")
@source_argument
@yes_option
@json_option
def live(wanted: str, yes: bool, wants_json: bool) -> None:
    """Say that the history of a source is complete.

    From now on it may raise alerts: its accounts are scored once with all of their history, silently; what comes after
    that is judged as it comes, and told to people as `kizashi notify mode` allows. There is no way back to importing:
    send all of the history first.

    A source that is live already can be marked live again. That changes nothing for whoever knows it, and is how to
    tell them when the event log lost records (docs/when-reading-stops.md).
    """
    apis = Apis.found()
    source_id = source_named(apis, wanted)["id"]
    path = f"{PATH}/{source_id}"
    now = apis.get("ingest", path)
    if now["state"] == "live":
        meaning = f"Source {source_id}, {now['name']}, is live since {moment(now['live_at'])}; this tells it once more."
    else:
        meaning = (
            f"Source {source_id}, {now['name']}, will be live: from now on what it sends may raise alerts. "
            "Is all of its history sent? There is no way back."
        )
    if not yes:
        click.echo(meaning, err=True)
        click.confirm("Mark it live?", abort=True, err=True)
    found = apis.post("ingest", f"{path}/live")
    if wants_json:
        as_json(found)
        return
    line(f"Source {source_id}, {found['name']}, is live since {moment(found['live_at'])}.")
