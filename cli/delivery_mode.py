"""kizashi notify: what leaves the house."""

from __future__ import annotations

from typing import Any

import click

from cli.apis import Apis
from cli.printing import line

PATH = "/v1/delivery-mode"


@click.group("notify")
def notify() -> None:
    """What leaves the house, for the workspace of the API key.

    A new workspace is in observe: everything is decided and recorded (`kizashi timeline` shows it), nothing is sent.
    Changing it needs a key of the scope admin, and holds at once.
    """


@notify.command("mode")
def mode() -> None:
    """Show what leaves the house now, and the hourly caps."""
    _show(Apis.found().get("notify", PATH))


@notify.command("enable")
def enable() -> None:
    """Send what is decided from now on, and release the kill switch."""
    _set(mode="enabled", kill_switch=False)


@notify.command("observe")
def observe() -> None:
    """Decide and record everything, send nothing."""
    _set(mode="observe")


@notify.command("kill")
@click.option("--release", is_flag=True, help="Let messages leave again, if the mode allows it.")
def kill(release: bool) -> None:
    """Stop everything that has not left, at once."""
    _set(kill_switch=not release)


def _set(**changes: Any) -> None:
    apis = Apis.found()
    now = apis.get("notify", PATH)
    wanted = {"mode": now["mode"], "kill_switch": now["kill_switch"], **changes}
    _show(apis.put("notify", PATH, wanted))


def _show(found: dict[str, Any]) -> None:
    caps = found["hourly_cap"]
    if found["kill_switch"]:
        line("KILLED: nothing leaves, whatever the mode; `kizashi notify kill --release` ends that.")
    line(
        f"enabled: messages are sent, at most {caps['slack']} in Slack and {caps['email']} by email an hour."
        if found["mode"] == "enabled"
        else "observe: everything is decided and recorded, nothing is sent; `kizashi notify enable` changes that."
    )
