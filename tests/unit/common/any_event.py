"""Hypothesis strategies for every event there is, made from its fields: a new type is covered at once."""

from __future__ import annotations

import enum
import json
import types
import typing
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from hypothesis import strategies as st

from libs.common.events import AnyEvent, Event, Moment, Workspace

EVENT_TYPES: tuple[type[Event], ...] = typing.get_args(AnyEvent)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    Workspace: st.integers(1, 2**63 - 1),
    Moment: st.datetimes(timezones=st.just(UTC)),
    str: text,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    date: st.dates(),
    type(None): st.none(),
    msgspec.Raw: st.dictionaries(text, json_values, max_size=3).map(lambda fields: msgspec.Raw(json.dumps(fields))),
}


def any_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type as events use them."""
    if kind in PLAIN:
        return PLAIN[kind]
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return st.one_of([any_of(one) for one in typing.get_args(kind)])
    if typing.get_origin(kind) is tuple:
        return st.lists(any_of(typing.get_args(kind)[0]), max_size=3).map(tuple)
    if issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    hints = typing.get_type_hints(kind, include_extras=True)
    return st.builds(kind, **{field.name: any_of(hints[field.name]) for field in msgspec.structs.fields(kind)})


any_event: st.SearchStrategy[Event] = st.sampled_from(EVENT_TYPES).flatmap(any_of)
