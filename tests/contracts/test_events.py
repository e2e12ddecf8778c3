"""Published events decode for ever: an example of each type is committed, and no release may read less from it.

A new type needs an example with every field; a new field of an old type needs one too, beside the old example, so that
bytes without the field go on being read: <type>.<what is new>.json.
"""

from __future__ import annotations

import json
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from libs.common.events import AnyEvent, decode, encode

EXAMPLES = sorted((Path(__file__).parent / "events").glob("*.json"))
TYPES = {kind.__struct_config__.tag: kind for kind in typing.get_args(AnyEvent)}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_read_without_loss(example: Path) -> None:
    """A field that was renamed or dropped would be passed over silently; here it is missed."""
    value = example.read_bytes()
    event = decode(value)
    assert isinstance(event, TYPES[json.loads(value)["type"]])
    assert json.loads(encode(event)) == json.loads(value)


@pytest.mark.parametrize("tag", TYPES)
def test_every_field_of_every_type_has_an_example(tag: str) -> None:
    mentioned: set[str] = set()
    for example in EXAMPLES:
        fields = json.loads(example.read_bytes())
        if fields["type"] == tag:
            mentioned |= _paths(fields)
    missing = {".".join(path) for path in _fields(TYPES[tag])} - mentioned
    assert missing == set(), f"add them to tests/contracts/events/{tag}….json"


def _paths(value: Any, *path: str) -> set[str]:
    """Every place of a JSON value that holds something, lists left out of the path."""
    if isinstance(value, dict):
        return {".".join(path)}.union(*(_paths(inner, *path, name) for name, inner in value.items()))
    if isinstance(value, list):
        return {".".join(path)}.union(*(_paths(inner, *path) for inner in value))
    return {".".join(path)} if value is not None else set()


def _fields(kind: Any, *path: str) -> set[tuple[str, ...]]:
    """Every field that a type can hold, those of structs inside it included."""
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return set().union(*(_fields(part, *path) for part in typing.get_args(kind)))
    found: set[tuple[str, ...]] = set()
    for field in msgspec.structs.fields(kind):
        found |= {(*path, field.name)} | _fields(field.type, *path, field.name)
    return found
