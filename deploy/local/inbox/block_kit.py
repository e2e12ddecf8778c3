"""The limits of Slack's Block Kit, as Slack enforces them on ``chat.postMessage``, ``chat.update`` and webhooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAX_BLOCKS = 50
SECTION_TEXT = 3000
HEADER_TEXT = 150
FIELDS = 10
FIELD_TEXT = 2000
CONTEXT_ELEMENTS = 10
ACTION_ELEMENTS = 25
BUTTON_TEXT = 75
ID = 255
VALUE = 2000
URL = 3000
ALT_TEXT = 2000


def problems_of(blocks: object) -> list[str]:
    """What Slack would say in ``response_metadata.messages`` of an ``invalid_blocks`` error; empty if it is content."""
    if not isinstance(blocks, list):
        return ["[ERROR] must be an array [json-pointer:/blocks]"]
    if len(blocks) > MAX_BLOCKS:
        return [f"[ERROR] no more than {MAX_BLOCKS} items allowed [json-pointer:/blocks]"]
    found = []
    ids: set[str] = set()
    for number, block in enumerate(blocks):
        at = f"/blocks/{number}"
        if not isinstance(block, dict):
            found.append(_error("must be an object", at))
            continue
        block_id = block.get("block_id")
        if block_id is not None:
            if not isinstance(block_id, str) or len(block_id) > ID:
                found.append(_error(f"must be less than {ID + 1} characters", f"{at}/block_id"))
            elif block_id in ids:
                found.append(_error("`block_id` already exists", f"{at}/block_id"))
            ids.add(str(block_id))
        found += _block(block, at)
    return found


def _error(what: str, at: str) -> str:
    return f"[ERROR] {what} [json-pointer:{at}]"


def _block(block: dict[str, Any], at: str) -> Iterator[str]:
    match block.get("type"):
        case "header":
            yield from _text(block.get("text"), f"{at}/text", HEADER_TEXT, {"plain_text"})
        case "section":
            yield from _section(block, at)
        case "context":
            yield from _elements(block, at, CONTEXT_ELEMENTS)
            for number, element in enumerate(_list(block.get("elements"))):
                yield from _context_element(element, f"{at}/elements/{number}")
        case "actions":
            yield from _elements(block, at, ACTION_ELEMENTS)
            for number, element in enumerate(_list(block.get("elements"))):
                yield from _interactive(element, f"{at}/elements/{number}")
        case "image":
            yield from _image(block, at)
        case "divider" | "rich_text":
            return
        case other:
            yield _error(f"unsupported type: {other}", f"{at}/type")


def _section(block: dict[str, Any], at: str) -> Iterator[str]:
    if block.get("text") is None and not block.get("fields"):
        yield _error("missing required field: text or fields", at)
    if block.get("text") is not None:
        yield from _text(block["text"], f"{at}/text", SECTION_TEXT)
    fields = _list(block.get("fields"))
    if len(fields) > FIELDS:
        yield _error(f"no more than {FIELDS} items allowed", f"{at}/fields")
    for number, one in enumerate(fields):
        yield from _text(one, f"{at}/fields/{number}", FIELD_TEXT)
    if block.get("accessory") is not None:
        yield from _interactive(block["accessory"], f"{at}/accessory")


def _elements(block: dict[str, Any], at: str, most: int) -> Iterator[str]:
    elements = block.get("elements")
    if not isinstance(elements, list) or not elements:
        yield _error("missing required field: elements", at)
    elif len(elements) > most:
        yield _error(f"no more than {most} items allowed", f"{at}/elements")


def _context_element(element: object, at: str) -> Iterator[str]:
    if isinstance(element, dict) and element.get("type") == "image":
        yield from _image(element, at)
    else:
        yield from _text(element, at, SECTION_TEXT)


def _interactive(element: object, at: str) -> Iterator[str]:
    if not isinstance(element, dict) or not isinstance(element.get("type"), str):
        yield _error("must be an object with a type", at)
        return
    if element["type"] == "image":
        yield from _image(element, at)
    if element["type"] == "button":
        yield from _text(element.get("text"), f"{at}/text", BUTTON_TEXT, {"plain_text"})
        if element.get("style", "primary") not in ("primary", "danger"):
            yield _error("must be primary or danger", f"{at}/style")
    for name, most in (("action_id", ID), ("value", VALUE), ("url", URL)):
        value = element.get(name)
        if value is not None and (not isinstance(value, str) or not 0 < len(value) <= most):
            yield _error(f"must be between 1 and {most} characters", f"{at}/{name}")


def _image(block: dict[str, Any], at: str) -> Iterator[str]:
    if not block.get("image_url") and not block.get("slack_file"):
        yield _error("missing required field: image_url", at)
    elif len(str(block.get("image_url", ""))) > URL:
        yield _error(f"must be less than {URL + 1} characters", f"{at}/image_url")
    if not 0 < len(str(block.get("alt_text") or "")) <= ALT_TEXT:
        yield _error(f"must be between 1 and {ALT_TEXT} characters", f"{at}/alt_text")


def _text(value: object, at: str, most: int, types: frozenset[str] | set[str] = frozenset()) -> Iterator[str]:
    if not isinstance(value, dict):
        yield _error("must be a text object", at)
        return
    if value.get("type") not in (types or {"plain_text", "mrkdwn"}):
        yield _error(f"unsupported type: {value.get('type')}", f"{at}/type")
    text = value.get("text")
    if not isinstance(text, str) or not text:
        yield _error("must be more than 0 characters", f"{at}/text")
    elif len(text) > most:
        yield _error(f"must be less than {most + 1} characters", f"{at}/text")


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
