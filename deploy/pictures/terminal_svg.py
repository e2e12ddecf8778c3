"""What a terminal showed, as an SVG: text that stays text, small, and the same on every screen."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from html import escape

FONT_SIZE = 13
COLUMN = 7.8
"""Pixels that a character is given, whatever font the reader has."""
LINE = 19
MARGIN = 20
BAR = 34
"""Height of the window's bar."""
GROUND, INK = "#1b1c20", "#d9d7d3"
STYLES = {
    "1": 'font-weight="700" fill="#ffffff"',
    "2": 'fill="#85838a"',
    "31": 'fill="#ff7b72"',
    "32": 'fill="#7ccf7f"',
    "33": 'fill="#e9c46a"',
    "36": 'fill="#6cb4ee"',
}
"""By the code of an escape sequence; those that deploy.local.terminal writes."""

_SEQUENCE = re.compile(r"\x1b\[([0-9;]*)m")


def shown(raw: str) -> list[str]:
    """The lines that were left standing, colours included: what a later one replaced on the same row is gone."""
    rows = raw.replace("\r\n", "\n").split("\n")
    return [row.rpartition("\x1b[2K")[2].rpartition("\r")[2].rstrip() for row in rows]


def svg(lines: Sequence[str], title: str) -> str:
    """``title`` is for those who cannot see the picture."""
    width = round(2 * MARGIN + COLUMN * max(sum(map(_columns, (text for _, text in pieces(line)))) for line in lines))
    height = BAR + LINE * len(lines) + MARGIN
    dots = "".join(
        f'<circle cx="{MARGIN + 20 * n}" cy="18" r="6" fill="{colour}"/>'
        for n, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    rows = "\n".join(_row(line, BAR + LINE * (n + 1) - 5) for n, line in enumerate(lines) if line)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(title)}">\n<rect width="100%" height="100%" rx="10" fill="{GROUND}"/>{dots}\n'
        f"<g font-family=\"ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace\" "
        f'font-size="{FONT_SIZE}" fill="{INK}">\n{rows}\n</g>\n</svg>\n'
    )


def pieces(line: str) -> Iterator[tuple[str, str]]:
    """The parts of a line that have one style each: the code of the style (empty: none) and the text."""
    style = ""
    for n, part in enumerate(_SEQUENCE.split(line)):
        if n % 2:
            style = "" if part in ("", "0") else part
        elif part:
            yield style, part


def _row(line: str, y: int) -> str:
    """Each run of words at its column: browsers fold the spaces between them."""
    column, spans = 0, []
    for style, text in pieces(line):
        for part in re.split("( {2,})", text):
            if bare := part.strip():
                x = MARGIN + COLUMN * (column + part.index(bare))
                size = f'x="{x:.1f}" textLength="{COLUMN * _columns(bare):.1f}"'
                spans.append(f"<tspan {' '.join(filter(None, (size, STYLES.get(style))))}>{escape(bare)}</tspan>")
            column += _columns(part)
    return f'<text y="{y}">{"".join(spans)}</text>'


def _columns(text: str) -> int:
    """How wide a terminal makes it."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
