"""What the checker can find."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    LOST = "lost"  # it happened, and what had to follow did not
    DOUBLED = "doubled"  # it had its effect twice
    GHOST = "ghost"  # an effect of nothing that happened
    REORDERED = "reordered"  # what has one key is on the log in another order than it happened
    TOLD_TWICE = "told_twice"
    NOT_TOLD = "not_told"
    LEDGER_DIFFERS_FROM_INBOX = "ledger_differs_from_inbox"
    DEAD_LETTERS = "dead_letters"
    STUCK = "stuck"


@dataclass(frozen=True, order=True)
class Finding:
    """``subject`` is the id of what it is about, ``words`` the whole of it in a sentence."""

    kind: Kind
    subject: str
    words: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.words}"


def times(n: int) -> str:
    """In words: never, once, twice, 3 times."""
    return {0: "never", 1: "once", 2: "twice"}.get(n, f"{n} times")
