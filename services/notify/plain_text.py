"""Customers' words as plain text that cannot imitate ours: one line, nothing invisible in it."""

from __future__ import annotations

import unicodedata

_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
"""Control and format characters: line breaks that imitate our lines, marks that turn the text's direction."""
_JOINERS = {"\u200c", "\u200d"}
"""Harmless and needed: they shape Indic and Arabic scripts and join emoji."""


def one_line(text: str) -> str:
    """Without control and format characters; any run of white space is one space."""
    seen = "".join(
        " " if char.isspace() else char
        for char in text
        if char.isspace() or char in _JOINERS or unicodedata.category(char) not in _UNSEEN
    )
    return " ".join(seen.split())
