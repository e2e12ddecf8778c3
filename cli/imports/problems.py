"""What ends an import, by its exit status, and what costs a single row."""

from __future__ import annotations

import click


class Misused(click.ClickException):
    """Nothing was sent: the command or the file must be another."""

    exit_code = 2


class Stopped(click.ClickException):
    """It ended in the middle; the same command goes on there."""

    exit_code = 3


class RowRefused(Exception):
    """One row cannot be sent. ``code`` is for scripts, the message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
