"""Nothing that can be sent makes the rules fail in another way than they say, and what they accept can be stored."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.errors import Refused
from libs.common.events import TelemetryKind, decode, encode
from services.ingest.domain.acceptance import Limits, accept
from services.ingest.domain.accounts import AccountNames
from services.ingest.domain.documents import read_batch, read_single
from tests.unit.ingest.conftest import arrival

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None), max_size=10)
    | st.sampled_from(["track", "identify", "group", "alias", "\0", "2026-03-02T11:00:00Z", "A", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "type", "messageId", "userId", "anonymousId", "previousId", "groupId", "event", "name", "timestamp",
    "originalTimestamp", "sentAt", "properties", "traits", "context", "batch", "writeKey", "historical",
]  # fmt: skip
known_fields = st.dictionaries(st.sampled_from(NAMES), anything, max_size=8)
likely_calls = st.builds(
    lambda call, nested: {**call, **nested},
    known_fields,
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from([kind.value for kind in TelemetryKind]),
            "userId": st.text(min_size=1, max_size=5),
            "event": st.text(min_size=1, max_size=5),
            "context": st.dictionaries(st.sampled_from(["groupId", "traits", "x"]), anything),
            "properties": st.dictionaries(st.sampled_from(["$groups", "account_id", "x"]), anything),
            "traits": st.dictionaries(st.sampled_from(["company", "id", "x"]), anything),
        },
    ),
)
bodies = st.builds(
    lambda around, events: {**around, "batch": events}, known_fields, st.lists(likely_calls | anything, max_size=4)
)


def _take(body: bytes, kind: TelemetryKind | None) -> None:
    try:
        document = read_batch(body) if kind is None else read_single(body)
    except Refused:
        return
    outcome = accept(document, arrival(kind), Limits(), AccountNames())
    assert len(outcome.accepted) + outcome.rejected == len(document.events)
    for event in outcome.accepted:
        value = encode(event)
        assert decode(value) == event
        assert "\0" not in str(_everything(msgspec.json.decode(value)))
        assert event.key.startswith(b"1:")


def _everything(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [part for pair in value.items() for one in pair for part in _everything(one)]
    if isinstance(value, list):
        return [part for one in value for part in _everything(one)]
    return [value]


kinds = st.sampled_from([None, *TelemetryKind])


@settings(max_examples=300, deadline=None)
@given(bodies, st.booleans())
def test_arbitrary_batches(body: Any, ascii_only: bool) -> None:
    _take(json.dumps(body, ensure_ascii=ascii_only).encode(errors="surrogatepass"), None)


@settings(max_examples=300, deadline=None)
@given(likely_calls, kinds)
def test_arbitrary_calls(call: Any, kind: TelemetryKind | None) -> None:
    _take(json.dumps(call).encode(), kind)


@settings(deadline=None)
@given(st.binary(), kinds)
def test_arbitrary_bytes(body: bytes, kind: TelemetryKind | None) -> None:
    _take(body, kind)


@settings(deadline=None)
@given(bodies, st.data())
def test_damaged_batches(body: Any, data: st.DataObject) -> None:
    written = bytearray(json.dumps(body).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    _take(bytes(written), None)
