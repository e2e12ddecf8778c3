"""How moments and lengths of time are written on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def length_of(text: str) -> timedelta | None:
    """«30m», «24h», «90d», or «0»; None for anything else."""
    if text == "0":
        return timedelta()
    found = re.fullmatch(r"([0-9]{1,5})([mhd])", text)
    return timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else None


class Length(click.ParamType[timedelta]):
    """A length of time, as a timedelta."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = length_of(value)
        if found is None:
            self.fail(f"{value!r} is no length of time: write 30m, 24h, 7d, or 0.", param, ctx)
        return found


class Expiry(click.ParamType[str]):
    """When a key ends, as the APIs take it: ISO 8601 in UTC, or ``NEVER``."""

    name = "expiry"
    NEVER = "never"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == self.NEVER:
            return self.NEVER
        if length := length_of(value):
            return (datetime.now(UTC) + length).isoformat(timespec="seconds")
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no moment: write 90d, 12h, 2027-01-31, 2027-01-31T18:00, or never.", param, ctx)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def expiry_option(help_text: str) -> Callable[[Command], Command]:
    return click.option("--expires", metavar="WHEN", type=Expiry(), help=help_text)


overlap_option = click.option(
    "--overlap",
    metavar="LENGTH",
    type=Length(),
    default="24h",
    help="For how long the old key goes on working: 30m, 24h, 7d, or 0 for not at all; else 24h.",
)


def expires_at(when: str | None) -> str | None:
    """The field of that name: None for never."""
    return None if when == Expiry.NEVER else when
