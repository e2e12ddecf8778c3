"""kizashi accounts | account | timeline: how customers are doing, why, and what happened."""

from __future__ import annotations

from urllib.parse import quote

import click

from cli.apis import Apis
from cli.options import json_option
from cli.printing import as_json, band, columns, line, moment


@click.command("accounts")
@click.option("--band", "in_band", type=click.Choice(["green", "yellow", "red"]), help="Only these.")
@click.option("--segment", metavar="NAME", help="Only these; a segment of config/segments.yaml.")
@click.option("--limit", metavar="N", type=click.IntRange(1, 200), default=50, help="At most so many; else 50.")
@json_option
def accounts(in_band: str | None, segment: str | None, limit: int, wants_json: bool) -> None:
    """Customer accounts in the order of their ids, each with its score from 0 to 100 and its band.

    A score and a band are missing while there is too little to measure.

    \b
    Examples:
      kizashi accounts --band red
      kizashi accounts --segment enterprise --json
    """
    found = Apis.found().get("health", "/v1/accounts", band=in_band, segment=segment, limit=limit)
    if wants_json:
        as_json(found)
        return
    columns(
        ("account", "name", "segment", "score", "band"),
        [(one["account_id"], one["name"], one["segment"], one["score"], one["band"]) for one in found["accounts"]],
        empty="No accounts yet: they appear with the first `group` call (or event that names one).",
    )
    if found["next_cursor"]:
        line("There are more; raise --limit, or narrow down by --band and --segment.")


@click.command("account")
@click.argument("account_id")
@json_option
def account(account_id: str, wants_json: bool) -> None:
    """One account's score, and what gives and costs its points.

    ACCOUNT_ID is the id by which your product calls the account in `group` calls; `kizashi accounts` lists them. What
    is given adds up to the score, what is lost to the rest of 100.
    """
    found = Apis.found().get("health", f"/v1/accounts/{quote(account_id)}/health")
    if wants_json:
        as_json(found)
        return
    score = "no score" if found["score"] is None else f"{found['score']:.1f}"
    click.echo(f"{found['name']}  {score}  {band(found['band'])}  as of {moment(found['as_of'])} UTC")
    columns(
        ("given", "lost", "measure", "value", "threshold", "window"),
        [
            (one["given"], one["lost"], one["title"], one["value"], one["threshold"], one["window"])
            for one in found["explanation"]
        ],
        empty="Nothing can be measured yet.",
    )


@click.command("timeline")
@click.argument("account_id")
@json_option
def timeline(account_id: str, wants_json: bool) -> None:
    """What happened to an account, and what was done about it or why nothing was; newest first."""
    found = Apis.found().get("playbook", f"/v1/accounts/{quote(account_id)}/timeline")
    if wants_json:
        as_json(found)
        return
    columns(
        ("when", "what", ""),
        [(moment(one["at"]), one["kind"], one["title"]) for one in found["entries"]],
        empty="Nothing has happened yet.",
    )
