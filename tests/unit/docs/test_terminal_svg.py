"""The picture of a terminal shows what the terminal showed."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from deploy.pictures.terminal_svg import COLUMN, MARGIN, pieces, shown, svg

SVG = "{http://www.w3.org/2000/svg}"


def test_what_a_later_line_replaced_is_gone() -> None:
    raw = "  … working\r\x1b[2K  … nearly\r\x1b[2K  \x1b[32m✓\x1b[0m done\r\n\r\nnext\r\n"
    assert shown(raw) == ["  \x1b[32m✓\x1b[0m done", "", "next", ""]


def test_a_line_falls_into_pieces_of_one_style_each() -> None:
    assert list(pieces("a \x1b[31mred\x1b[0m b")) == [("", "a "), ("31", "red"), ("", " b")]


def test_every_word_stands_at_its_column_in_its_colour() -> None:
    drawing = ElementTree.fromstring(svg(["", "  兆し  Petal & Stem    \x1b[31mred\x1b[0m"], "A title"))
    spans = [(span.text, span.get("x"), span.get("fill")) for span in drawing.iter(f"{SVG}tspan")]
    columns = {"兆し": 2, "Petal & Stem": 8, "red": 24}  # the two characters are two columns wide each
    assert [(text, x) for text, x, _ in spans] == [
        (text, f"{MARGIN + COLUMN * column:.1f}") for text, column in columns.items()
    ]
    assert [colour for *_, colour in spans] == [None, None, "#ff7b72"]
    assert re.fullmatch(r"A title", drawing.get("aria-label", ""))
