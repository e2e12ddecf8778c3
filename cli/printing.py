"""How answers look: columns for people, the API's own JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

BAND_COLOURS = {"green": "green", "yellow": "yellow", "red": "red"}


def as_json(answer: Any) -> None:
    click.echo(json.dumps(answer, indent=1, ensure_ascii=False))


def columns(headings: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Left-aligned columns under their headings, or the sentence ``empty``."""
    if not rows:
        click.echo(empty)
        return
    table = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[n]) for row in [list(headings), *table]) for n in range(len(headings))]
    click.secho(_row(headings, widths), dim=True)
    for row in table:
        click.echo(_row(row, widths))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def plain(cell: object) -> str:
    """One line without control characters: what customers wrote must not write on the terminal."""
    text = "–" if cell is None else str(cell)
    return "".join(character if character.isprintable() else " " for character in text)


def moment(text: str | None) -> str | None:
    """«2026-03-02 14:05», in UTC as the APIs give it."""
    return None if text is None else f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"


def age(seconds: float) -> str:
    """«40 s», «12 min», «3 h», «2 days»."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def counted(number: int, noun: str) -> str:
    """«1 record», «1,200 records»."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def band(name: str | None) -> str:
    return click.style(name or "no score", fg=BAND_COLOURS.get(name or ""))


def line(text: object) -> None:
    click.echo(plain(text))
