"""A line for each run: what befell it, how much was accepted, applied and told, and how soon all was well again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tests.faults.history import History


class Row(NamedTuple):
    """Cells of the table, as they are printed."""

    fault: str
    engine: str
    accepted: str
    applied: str
    told: str
    seconds_to_recover: str


HEADINGS = Row("fault", "engine", "accepted", "applied", "told", "seconds to recover")


def row_of(fault: str, history: History) -> Row:
    """``told`` counts what people see: messages in Slack, and mails by their id."""
    accepted = sum(sent.acknowledged_at is not None for sent in history.sent)
    owed = sum(len(expected.told_by) for expected in history.expected)
    told = len(history.slack) + len({mail.message_id for mail in history.mails})
    seconds = history.seconds_to_recover
    return Row(
        fault=fault,
        engine=history.engine,
        accepted=str(accepted),
        applied=str(history.usage_total),
        told=f"{told} of {owed}",
        seconds_to_recover="stuck" if seconds is None else f"{seconds:.1f}",
    )


def lines_of(rows: Sequence[Row]) -> list[str]:
    """Rows of a table in Markdown, cells under each other."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(HEADINGS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
