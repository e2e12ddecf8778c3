"""kizashi api-keys: the keys by which people and scripts ask and administer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import click

from cli.apis import KEY_VARIABLE, Apis
from cli.key_ending import end_for_good
from cli.moments import expires_at, expiry_option, overlap_option
from cli.options import json_option, yes_option
from cli.printing import as_json, columns, moment
from cli.shown_once import show_old_one, show_once

PATH = "/v1/api-keys"
SCOPES = ("read", "write", "admin", "operator")


@click.group("api-keys")
def api_keys() -> None:
    """The keys by which people and scripts ask the services and administer them, in the workspace of yours.

    Each has scopes: read sees everything, write changes accounts' runs and tasks, admin makes keys and sources and says
    what leaves the house, operator looks after the installation. A key is shown once, when it is made. All of this
    needs a key of the scope admin, and nobody can make a key with a scope that theirs lacks.

    \b
    Examples:
      kizashi api-keys list
      kizashi api-keys create --name grafana --scope read --expires 365d
      KEY=$(kizashi api-keys rotate 5d41402abc4b)    the new one alone; the old one works for a day more
      kizashi api-keys revoke 5d41402abc4b
    """


@api_keys.command("list")
@json_option
def list_keys(wants_json: bool) -> None:
    """List them, with their scopes and whether they work now."""
    found = Apis.found().get("ingest", PATH)
    if wants_json:
        as_json(found)
        return
    columns(
        ("id", "name", "scopes", "state", "expires", "replaced by", ""),
        [
            (
                key["id"],
                key["name"],
                " ".join(key["scopes"]),
                key["state"],
                moment(key["expires_at"]),
                key["replaced_by"],
                "yours" if key["yours"] else "",
            )
            for key in found
        ],
        empty="No API keys.",
    )


@api_keys.command("create")
@click.option("--name", required=True, help="Who or what will use it.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    required=True,
    help="What it may do; can be repeated.",
)
@expiry_option("When it ends: 90d, 12h, 2027-01-31, or never; else never.")
@json_option
def create(name: str, scopes: Sequence[str], expires: str | None, wants_json: bool) -> None:
    """Make a key. It is printed this once, alone on standard output."""
    made = Apis.found().post("ingest", PATH, {"name": name, "scopes": list(scopes), "expires_at": expires_at(expires)})
    show_once(made, "api_key", f"This is API key {made['id']}, {made['name']}", wants_json)


@api_keys.command("rotate")
@click.argument("key_id")
@overlap_option
@json_option
def rotate(key_id: str, overlap: Any, wants_json: bool) -> None:
    """Make a new key in place of one. It is printed this once, alone on standard output.

    It has the name and scopes of the old one, and as long a life as that was given. Both work during the overlap.
    """
    made = Apis.found().post("ingest", f"{_path(key_id)}/rotate", {"overlap_hours": overlap.total_seconds() / 3600})
    show_once(made, "api_key", f"This is API key {made['id']}, {made['name']}", wants_json)
    yours = f"you are calling with it, so put the new one into {KEY_VARIABLE}"
    show_old_one(made["replaces"], yours if made["replaces"]["yours"] else "it is refused", wants_json)


@api_keys.command("revoke")
@click.argument("key_id")
@yes_option
@json_option
def revoke(key_id: str, yes: bool, wants_json: bool) -> None:
    """End a key for good, everywhere at once.

    The last one that works and has the scope admin stays: make another one first.
    """
    warning = f"Whoever uses API key {key_id} is refused from now on."
    end_for_good(Apis.found(), _path(key_id), "API key", warning, yes, wants_json)


def _path(key_id: str) -> str:
    return f"{PATH}/{quote(key_id, safe='')}"
