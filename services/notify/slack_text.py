"""Customers' words made harmless in Slack: nothing in them can mention, link, hide or imitate."""

from __future__ import annotations

import re

from services.notify.plain_text import one_line

ZERO_WIDTH_SPACE = "\u200b"
ELLIPSIS = "…"

_GROUP_MENTION = re.compile(r"@(?=(?:channel|here|everyone|group)\b)", re.IGNORECASE)
_UNIT = re.compile(r"&(?:amp|lt|gt);|.", re.DOTALL)
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def harmless(text: str) -> str:
    """One line whose mentions and links are broken by an invisible space; not escaped yet."""
    return _GROUP_MENTION.sub(f"@{ZERO_WIDTH_SPACE}", one_line(text)).replace("://", f":{ZERO_WIDTH_SPACE}//")


def escaped(text: str) -> str:
    """Slack's own escaping, which is all that a mention or a link needs to be plain text."""
    return "".join(_ENTITIES.get(char, char) for char in text)


def length(text: str) -> int:
    """As the strictest reading of Slack's limits counts: UTF-16 units, of which an emoji takes two."""
    return len(text.encode("utf-16-le")) // 2


def quoted(text: object, most: int = 300) -> str:
    """Customers' words for a mrkdwn or plain_text object, at most ``most`` long once escaped.

    It never ends in half an entity.
    """
    return clipped(harmless(str(text)), most)


def clipped(text: str, most: int) -> str:
    """Escaped and at most ``most`` long."""
    return cut(escaped(text), most)


def cut(escaped_text: str, most: int) -> str:
    """At most ``most`` long, its end replaced by an ellipsis if need be."""
    if length(escaped_text) <= most:
        return escaped_text
    kept, used = [], length(ELLIPSIS)
    for unit in _UNIT.findall(escaped_text):
        used += length(unit)
        if used > most:
            break
        kept.append(unit)
    return "".join(kept).rstrip() + ELLIPSIS


def bars(values: tuple[int, ...]) -> str:
    """A small picture of numbers that are not negative, the highest as a full block: (120, 60, 0) gives █▅▁."""
    highest = max(values, default=0)
    steps = "▁▂▃▄▅▆▇█"
    if highest <= 0:
        return steps[0] * len(values)
    top = len(steps) - 1
    return "".join(steps[(max(0, value) * top + highest // 2) // highest] for value in values)
