"""Figures as a picture: a panel per unit, a bar to each median, a line from the least to the most of the runs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.figures import Figure
from bench.table import shown

WIDTH = 960
LABELS = 420
"""Where the bars begin."""
VALUES = 110
"""What is left behind the longest bar for its value."""
ROW = 22
BAR = 12
PANEL = 46
"""Above the first bar of a panel, for its unit."""
TITLE = 40
FRAME = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
    'font-family="system-ui, sans-serif" font-size="13">\n'
    '<rect width="100%" height="100%" fill="#ffffff"/>\n'
    '<text x="16" y="26" font-size="17" fill="#1c2733">{title}</text>\n{body}</svg>\n'
)


def svg(figures: Sequence[Figure], title: str) -> str:
    """Bars of one unit share a scale that begins at zero; units come in the order of the table."""
    panels: dict[str, list[Figure]] = {}
    for figure in figures:
        panels.setdefault(figure.unit, []).append(figure)
    top, parts = TITLE, []
    for unit, panel in panels.items():
        parts.append(f'<text x="16" y="{top + 32}" font-weight="600" fill="#1c2733">{escape(unit)}</text>\n')
        parts += _bars(panel, top + PANEL)
        top += PANEL + len(panel) * ROW
    return FRAME.format(width=WIDTH, height=top + 16, title=escape(title), body="".join(parts))


def _bars(panel: Sequence[Figure], top: int) -> list[str]:
    longest = max(figure.most for figure in panel) or 1.0
    scale = (WIDTH - LABELS - VALUES) / longest
    bars = []
    for row, figure in enumerate(panel):
        middle = top + row * ROW + BAR / 2
        least, median, most = (LABELS + value * scale for value in (figure.least, figure.middle, figure.most))
        bars.append(
            f'<text x="{LABELS - 10}" y="{middle + 4:.0f}" text-anchor="end" fill="#46535f">{escape(figure.name)}'
            "</text>"
            f'<rect x="{LABELS}" y="{middle - BAR / 2:.0f}" width="{median - LABELS:.1f}" height="{BAR}" '
            'fill="#3f7cac"/>'
            f'<path d="M{least:.1f} {middle:.0f}H{most:.1f}" stroke="#1c2733" stroke-width="2"/>'
            f'<text x="{most + 8:.0f}" y="{middle + 4:.0f}" fill="#1c2733">{shown(figure.middle)}</text>\n'
        )
    return bars
