"""docs/sdk-compatibility.md says what was seen of each client; whoever sees it holds the page to it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PAGE = (Path(__file__).parents[4] / "docs" / "sdk-compatibility.md").read_text()


def row(*cells: str) -> str:
    """A line of a table as it stands in the page."""
    return f"| {' | '.join(cells)} |"


def must_say(rows: Iterable[str]) -> None:
    """Raises AssertionError with the rows that the page lacks, to be pasted there if that is what shall be."""
    lines = set(PAGE.splitlines())
    missing = [line for line in rows if line not in lines]
    assert not missing, "docs/sdk-compatibility.md does not say what was seen:\n" + "\n".join(missing)
