"""New keys: printed once, alone on standard output, so that a script can take them; the sentences go beside it."""

from __future__ import annotations

from typing import Any

import click

from cli.printing import as_json, moment, plain


def show_once(made: dict[str, Any], secret: str, what: str, wants_json: bool) -> None:
    """``secret`` names the field that holds it."""
    if wants_json:
        as_json(made)
        return
    click.echo(plain(f"{what}; it is shown this once:"), err=True)
    click.echo(made[secret])


def show_old_one(old: dict[str, Any], then: str, wants_json: bool) -> None:
    """What becomes of a key that was rotated; ``then`` says what follows from its end."""
    if wants_json:
        return
    if old["state"] == "works":
        end = f"works until {moment(old['expires_at'])} UTC; from then on {then}"
    else:
        end = f"is {old['state']}: {then}"
    click.echo(plain(f"The old one, {old['id']}, {end}."), err=True)
