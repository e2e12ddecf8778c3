"""kizashi keys: the write keys by which products send."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import click

from cli.apis import Apis
from cli.key_ending import end_for_good
from cli.moments import expires_at, expiry_option, overlap_option
from cli.options import json_option, yes_option
from cli.printing import as_json, columns, counted, line, moment, plain
from cli.shown_once import show_old_one, show_once
from cli.sources import source_named

SHOWS_ITSELF = "kzw_"
DEFAULT_QUOTA = "default"
ANY_ORIGIN = "any"
SHOWN_AFTER_ITS_END = timedelta(days=7)
"""Of a key, in the list: imports make one each, and whoever looks wants those that matter."""


class Quota(click.ParamType[int | str]):
    """Events a second, or ``DEFAULT_QUOTA``."""

    name = "quota"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        return DEFAULT_QUOTA if value == DEFAULT_QUOTA else click.IntRange(min=1).convert(value, param, ctx)


quota_option = click.option(
    "--events-per-s",
    metavar="N",
    type=Quota(),
    help="How many events a second it may send; default: as the installation says.",
)
origins_option = click.option(
    "--origin",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    help="A page that may use it, as https://app.example.com; can be repeated; any: every page.",
)


@click.group("keys")
def keys() -> None:
    """The write keys by which products send: they open nothing but writing, to one source.

    A key begins with kzw_ and its id, so it can be told wherever it is found. It is shown once, when it is made. What
    is changed here holds everywhere within some seconds. Needs an API key of the scope admin.

    \b
    Examples:
      kizashi keys list
      kizashi keys create --source 1 --name web --origin https://app.example.com
      KEY=$(kizashi keys rotate 3f2a9c11d0b7)    the new one alone; the old one works for a day more
      kizashi keys revoke 3f2a9c11d0b7
    """


@keys.command("list")
@click.option("--source", metavar="SOURCE", help="Only of this source, by its number or name; else of all.")
@click.option("--all", "wants_all", is_flag=True, help="Also those that ended more than 7 days ago, as --json does.")
@json_option
def list_keys(source: str | None, wants_all: bool, wants_json: bool) -> None:
    """List them, with what each may do and whether it works now."""
    apis = Apis.found()
    found = [
        key for one in ([_number(apis, source)] if source else _sources(apis)) for key in apis.get("ingest", _path(one))
    ]
    if wants_json:
        as_json(found)
        return
    shown = found if wants_all else [key for key in found if not _ended_long_ago(key, datetime.now(UTC))]
    columns(
        ("id", "source", "name", "state", "expires", "events/s", "pages", "replaced by"),
        [
            (
                key["id"],
                key["source"],
                key["name"],
                key["state"],
                moment(key["expires_at"]),
                key["events_per_s"],
                ", ".join(key["origins"]) or "any",
                key["replaced_by"],
            )
            for key in shown
        ],
        empty=f"No write keys {'that work' if found else 'yet'}: kizashi keys create --source ID",
    )
    if hidden := len(found) - len(shown):
        line(f"{counted(hidden, 'key')} that ended more than 7 days ago not shown; --all shows them.")


@keys.command("create")
@click.option("--source", metavar="SOURCE", required=True, help="Whose events it sends: its number or name.")
@click.option("--name", default="default", help="Where it will be used, for people; else default.")
@expiry_option("When it ends: 90d, 12h, 2027-01-31, or never; else never.")
@quota_option
@origins_option
@json_option
def create(
    source: str,
    name: str,
    expires: str | None,
    events_per_s: int | str | None,
    origins: Sequence[str],
    wants_json: bool,
) -> None:
    """Make a key. It is printed this once, alone on standard output.

    \b
    Example:
      KEY=$(kizashi keys create --source 1 --name backend)
    """
    rules = _rules(expires, events_per_s, origins)
    apis = Apis.found()
    made = apis.post("ingest", _path(_number(apis, source)), {"name": name, **rules})
    show_once(made, "write_key", f"This is {_named(made)}", wants_json)


@keys.command("change")
@click.argument("key")
@expiry_option("When it ends: 90d, 12h, 2027-01-31, or never.")
@quota_option
@origins_option
@json_option
def change(
    key: str, expires: str | None, events_per_s: int | str | None, origins: Sequence[str], wants_json: bool
) -> None:
    """Change what a key may do, or until when.

    KEY is its id, or the whole key. What is not named stays as it is; origins are replaced, all of them, by those that
    are named.
    """
    rules = _rules(expires, events_per_s, origins)
    if not rules:
        raise click.UsageError("Say what to change: --expires, --events-per-s or --origin.")
    apis = Apis.found()
    changed = apis.patch("ingest", _path_of(_find(apis, key)), rules)
    if wants_json:
        as_json(changed)
        return
    ends = f"until {moment(changed['expires_at'])} UTC" if changed["expires_at"] else "without an end"
    quota = f"{changed['events_per_s']} events a second" if changed["events_per_s"] else "the installation's quota"
    line(f"Write key {changed['id']}, {changed['name']}: {ends}, {quota}, {_pages(changed['origins'])}.")


@keys.command("rotate")
@click.argument("key")
@overlap_option
@json_option
def rotate(key: str, overlap: Any, wants_json: bool) -> None:
    """Make a new key in place of one. It is printed this once, alone on standard output.

    KEY is the id of the old one, or the whole key. The new one has its name and rules, and as long a life as it was
    given. Both work during the overlap: put the new one into the product meanwhile, and no event is lost.
    """
    apis = Apis.found()
    old = _find(apis, key)
    made = apis.post("ingest", f"{_path_of(old)}/rotate", {"overlap_hours": overlap.total_seconds() / 3600})
    show_once(made, "write_key", f"This is {_named(made)}", wants_json)
    show_old_one(made["replaces"], "whatever still shows it loses its events", wants_json)


@keys.command("revoke")
@click.argument("key")
@yes_option
@json_option
def revoke(key: str, yes: bool, wants_json: bool) -> None:
    """End a key for good.

    KEY is its id, or the whole key. SDKs take the refusal as final: whatever still shows this key loses its events. To
    lose none, rotate it.
    """
    apis = Apis.found()
    found = _find(apis, key)
    warning = f"What still shows {_named(found)}, loses its events from now on."
    end_for_good(apis, _path_of(found), "Write key", warning, yes, wants_json)


def _rules(expires: str | None, events_per_s: int | str | None, origins: Sequence[str]) -> dict[str, Any]:
    """Those that were named."""
    rules: dict[str, Any] = {}
    if expires is not None:
        rules["expires_at"] = expires_at(expires)
    if events_per_s is not None:
        rules["events_per_s"] = None if events_per_s == DEFAULT_QUOTA else events_per_s
    if origins:
        rules["origins"] = [] if list(origins) == [ANY_ORIGIN] else list(origins)
    return rules


def _pages(origins: Sequence[str]) -> str:
    return f"for pages of {', '.join(origins)}" if origins else "for every page"


def _ended_long_ago(key: dict[str, Any], now: datetime) -> bool:
    ends = [datetime.fromisoformat(at) for at in (key["revoked_at"], key["expires_at"]) if at is not None]
    return bool(ends) and min(ends) < now - SHOWN_AFTER_ITS_END


def _sources(apis: Apis) -> list[int]:
    return [one["id"] for one in apis.get("ingest", "/v1/sources")]


def _number(apis: Apis, source: str) -> int:
    """A number needs no look-up, which an API key without the scope read could not do."""
    number: int = int(source) if source.isdecimal() else source_named(apis, source)["id"]
    return number


def _path(source: int) -> str:
    return f"/v1/sources/{source}/write-keys"


def _path_of(key: dict[str, Any]) -> str:
    return f"{_path(key['source'])}/{quote(key['id'], safe='')}"


def _find(apis: Apis, key: str) -> dict[str, Any]:
    """A key by its id or by itself, of whichever source it is."""
    key_id = key.removeprefix(SHOWS_ITSELF).partition("_")[0] if key.startswith(SHOWS_ITSELF) else key
    for source in _sources(apis):
        for one in apis.get("ingest", _path(source)):
            if one["id"] == key_id:
                found: dict[str, Any] = one
                return found
    raise click.ClickException(f"There is no write key {plain(key_id)}; `kizashi keys list` shows what there is.")


def _named(key: dict[str, Any]) -> str:
    return f"write key {key['id']}, {key['name']}, of source {key['source']}"
