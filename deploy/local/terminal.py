"""What the person at the terminal sees: steps of the set-up, one line at a time, and colours where they are shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TextIO

_COLOURS = {"green": "32", "yellow": "33", "red": "31", "dim": "2", "bold": "1", "cyan": "36"}


class Terminal:
    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._is_a_person = out.isatty()
        self._unfinished = ""

    def line(self, text: str = "") -> None:
        self._clear()
        print(text, file=self._out, flush=True)

    def colour(self, name: str, text: str) -> str:
        if not self._is_a_person or "NO_COLOR" in os.environ:
            return text
        return f"\x1b[{_COLOURS[name]}m{text}\x1b[0m"

    def progress(self, text: str) -> None:
        """A line that the next one replaces; left out where nobody watches."""
        if self._is_a_person:
            self._clear()
            self._out.write(text)
            self._out.flush()
            self._unfinished = text

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Shows what is being done, and how long it took."""
        began = monotonic()
        self.progress(f"  … {what}")
        yield
        self.line(f"  {self.colour('green', '✓')} {what:<58} {self.colour('dim', f'{monotonic() - began:5.1f} s')}")

    def _clear(self) -> None:
        if self._unfinished:
            self._out.write("\r\x1b[2K")
            self._unfinished = ""
