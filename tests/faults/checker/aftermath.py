"""What a run leaves behind that it should not: dead letters, and work that stands still or took too long."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.checker.finding import Finding, Kind
from tests.faults.history import History

RECOVERY_SECONDS = 30.0
"""Within this time of the end of the last fault, and of the load, everything must be through."""


def aftermath(history: History) -> Iterator[Finding]:
    for letter in sorted(history.letters, key=lambda one: (one.service, one.letter_id)):
        words = f"{letter.service} refused a record of {letter.topic} ({letter.reason}), letter {letter.letter_id}"
        yield Finding(Kind.DEAD_LETTERS, letter.letter_id, words)
    for waiting in sorted(history.waiting, key=lambda one: one.what):
        yield Finding(Kind.STUCK, waiting.what, f"{waiting.what}: {waiting.count} at the end")
    seconds = history.seconds_to_recover
    if seconds is None and not history.waiting:
        yield Finding(Kind.STUCK, "through_at", "not everything came through, and nothing says what was waiting")
    if seconds is not None and seconds > RECOVERY_SECONDS:
        words = f"it took {seconds:.0f} s from the end of the last fault until everything was through"
        yield Finding(Kind.STUCK, "through_at", words)
