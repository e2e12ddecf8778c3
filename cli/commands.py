"""Groups of commands whose modules are imported when they are called, so that help does not wait for drivers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click


@dataclass(frozen=True)
class Later:
    """A command that is an attribute of ``module`` by its own name, or by ``attribute``."""

    module: str
    summary: str
    attribute: str = ""


class Commands(click.Group):
    """``later`` by name, beside commands that are registered as usual; ``sections`` orders both in the help."""

    def __init__(
        self, *args: Any, later: Mapping[str, Later], sections: Mapping[str, Sequence[str]] | None = None, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self._later = later
        self._sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._later})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._later:
            return super().get_command(ctx, cmd_name)
        later = self._later[cmd_name]
        command: click.Command = getattr(import_module(later.module), later.attribute or cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, names in (self._sections or {"Commands": self.list_commands(ctx)}).items():
            with formatter.section(heading):
                formatter.write_dl([(name, self._summary(ctx, name)) for name in names])

    def _summary(self, ctx: click.Context, name: str) -> str:
        if name in self._later:
            return self._later[name].summary
        command = self.get_command(ctx, name)
        return command.get_short_help_str(limit=200) if command is not None else ""
