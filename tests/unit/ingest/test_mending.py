"""What is mended, and that everything else stays as it was."""

from __future__ import annotations

import json
import math
from time import perf_counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.domain.mending import mend


@pytest.mark.parametrize(
    ("sent", "mended"),
    [
        (b'{"a":NaN,"b":-Infinity,"c":[Infinity, NaN]}', b'{"a":null,"b":null,"c":[null, null]}'),
        (b'{"NaN":"Infinity is -Infinity, NaN is not"}', b'{"NaN":"Infinity is -Infinity, NaN is not"}'),
        (b'{"quoted \\" NaN":NaN}', b'{"quoted \\" NaN":null}'),
        (b'{"a\\u0000b":"\\u0000c\\u0000"}', b'{"ab":"c"}'),
        (b'{"a":"\\\\u0000"}', b'{"a":"\\\\u0000"}'),
        (b'{"a":"\\\\\\u0000"}', b'{"a":"\\\\"}'),
        (b'{"a":"\\ud83d\\ude00"}', b'{"a":"\\ud83d\\ude00"}'),
        (b'{"a":"\\ud83d"}', b'{"a":"\\ufffd"}'),
        (b'{"a":"\\ude00x"}', b'{"a":"\\ufffdx"}'),
        (b'{"a":"\\ud83d\\ud83d\\ude00"}', b'{"a":"\\ufffd\\ud83d\\ude00"}'),
        (b'{"a":"\\ud83d\\u0000\\ude00"}', b'{"a":"\\ufffd\\ufffd"}'),
        (b'{"a":"\\\\ud83d\\ude00"}', b'{"a":"\\\\ud83d\\ufffd"}'),
        (b'{"a":"one\ntwo\x00\x1f"}', b'{"a":"one\\u000atwo\\u001f"}'),
        (b'{\n\t"a": 1\r\n}', b'{\n\t"a": 1\r\n}'),
        (b'\xef\xbb\xbf{"a":1}', b'{"a":1}'),
        (b'{"a":"caf\xe9"}', '{"a":"caf\ufffd"}'.encode()),
        (b'{"a":"\xed\xa0\xbd"}', '{"a":"\ufffd\ufffd\ufffd"}'.encode()),
        ('{"a":"日本 😀"}'.encode(), '{"a":"日本 😀"}'.encode()),
        (b'{"unfinished', b'{"unfinished'),
        (b'"\\', b'"\\'),
        (b'{"a":-1,"b":-NaN,"I":N}', b'{"a":-1,"b":-null,"I":N}'),
        (b"", b""),
    ],
)
def test_mending(sent: bytes, mended: bytes) -> None:
    assert mend(sent) == mended


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
"""As Python's json makes them: NaN, Infinity, lone surrogates and \\u0000 included."""


def _storable(value: Any) -> Any:
    """What has to be left of a value."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_storable(one) for one in value]
    if isinstance(value, dict):
        return {_storable(name): _storable(one) for name, one in value.items()}
    return value


@settings(deadline=None)
@given(json_values, st.booleans())
def test_what_python_sends_can_be_read_and_stored_afterwards(value: Any, ascii_only: bool) -> None:
    sent = json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    mended = mend(sent)
    msgspec.json.decode(mended)
    assert b"\\u0000" not in mended.replace(b"\\\\", b"")
    if ascii_only:
        assert json.loads(mended) == _storable(value)


@settings(deadline=None)
@given(json_values.filter(lambda value: _storable(value) == value))
def test_what_is_well_stays_as_it_is(value: Any) -> None:
    sent = json.dumps(value).encode()
    assert mend(sent) == sent


@settings(deadline=None)
@given(st.binary())
def test_mending_never_fails(sent: bytes) -> None:
    mend(sent)


@pytest.mark.parametrize(
    "pattern", [b'"\\"', b'"\\u0000"', b'""', b"N", b"-", b'"', b"\\", b'"\\ud800', b"-I", b'"\x00', b"\xff"]
)
def test_no_pattern_makes_it_slow(pattern: bytes) -> None:
    """A pattern that made it quadratic would take hours."""
    began = perf_counter()
    mend(pattern * (1_000_000 // len(pattern)))
    assert perf_counter() - began < 5
