"""How the commands of write keys and of API keys end one for good."""

from __future__ import annotations

import click

from cli.apis import Apis
from cli.printing import as_json, line, moment, plain


def end_for_good(apis: Apis, path: str, kind: str, warning: str, yes: bool, wants_json: bool) -> None:
    """``path`` is the key's, ``kind`` Write key or API key; ``warning`` says what follows, before it is asked for."""
    if not yes:
        click.echo(plain(warning), err=True)
        click.confirm("Revoke it?", abort=True, err=True)
    revoked = apis.delete("ingest", path)
    if wants_json:
        as_json(revoked)
        return
    line(f"{kind} {revoked['id']}, {revoked['name']}, is revoked since {moment(revoked['revoked_at'])} UTC.")
