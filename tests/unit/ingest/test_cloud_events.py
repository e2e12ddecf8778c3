"""CloudEvents become telemetry, whichever of the three modes they come in."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.errors import Refused
from libs.common.events import TelemetryKind, TelemetryReceived, decode, encode
from services.ingest.domain.acceptance import Limits, Outcome, accept
from services.ingest.domain.accounts import AccountNames
from services.ingest.domain.cloud_events import read_cloud_events
from tests.unit.ingest.conftest import NOW, arrival

PAID: dict[str, Any] = {
    "specversion": "1.0",
    "id": "A234",
    "source": "https://billing.example/eu",
    "type": "com.example.invoice.paid",
    "time": "2026-03-02T11:00:00Z",
    "subject": "customer-42",
    "data": {"amount": 12.5},
}
IN_HEADERS = {b"ce-specversion": b"1.0", b"ce-id": b"A234", b"ce-source": b"https://billing.example/eu"}
PACKED = "application/json"


def take(body: object, headers: dict[bytes, bytes] | None = None) -> Outcome:
    written = body if isinstance(body, bytes) else msgspec.json.encode(body)
    document = read_cloud_events(written, headers or {})
    return accept(document, arrival(TelemetryKind.TRACK), Limits(), AccountNames())


def only(outcome: Outcome) -> TelemetryReceived:
    assert outcome.rejects == []
    (event,) = outcome.accepted
    assert decode(encode(event)) == event, "what is accepted must travel"
    return event


def packed(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_an_event_becomes_telemetry() -> None:
    event = only(take(PAID, {b"content-type": b"application/cloudevents+json; charset=UTF-8"}))
    assert (event.kind, event.event) == (TelemetryKind.TRACK, "com.example.invoice.paid")
    assert (event.account_id, event.account_rule, event.user_id) == ("customer-42", "subject", None)
    assert bytes(event.properties) == b'{"amount":12.5}'
    assert (event.occurred_at, event.flags, event.sent_at) == (NOW.replace(hour=11), (), None)


def test_all_three_modes_mean_the_same() -> None:
    headers = {
        **IN_HEADERS,
        b"ce-type": b"com.example.invoice.paid",
        b"ce-time": b"2026-03-02T11:00:00Z",
        b"ce-subject": b"customer-42",
        b"content-type": b"application/json",
    }
    alone, batched, binary = only(take(PAID)), only(take([PAID])), only(take(PAID["data"], headers))
    assert encode(alone) == encode(batched) == encode(binary)


def test_source_and_id_together_are_its_id() -> None:
    assert only(take(PAID)).id == "https://billing.example/eu A234"
    assert only(take({**PAID, "source": "/b", "id": 7})).id == "/b 7"
    pairs = [("/" + "x" * 100, "1"), ("/" + "x" * 99, "1"), ("/a b", "c"), ("/a", "b c")]
    numbers = [only(take({**PAID, "source": source, "id": number})).id for source, number in pairs]
    assert len(set(numbers)) == len(numbers)
    assert all(len(number) <= 100 for number in numbers)
    assert numbers == [only(take({**PAID, "source": source, "id": number})).id for source, number in pairs]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"specversion": None}, "missing_specversion"),
        ({"specversion": "0.3"}, "unknown_specversion"),
        ({"specversion": "1.1"}, "unknown_specversion"),
        ({"specversion": 1.0}, "unknown_specversion"),
        ({"id": None}, "missing_id"),
        ({"id": ""}, "missing_id"),
        ({"source": " "}, "missing_source"),
        ({"type": None}, "missing_type"),
        ({"type": "t" * 201}, "event_too_long"),
        ({"type": ["t"]}, "invalid_attribute"),
        ({"subject": {}}, "invalid_attribute"),
        ({"subject": "s" * 201}, "account_id_too_long"),
        ({"userid": "u" * 201}, "user_id_too_long"),
        ({"data_base64": "e30="}, "data_twice"),
        ({"data": {"x": "y" * 65_536}}, "event_too_large"),
        ({"data": json.loads("[" * 32 + "]" * 32)}, "event_too_deep"),
    ],
)
def test_an_invalid_event_is_rejected_with_a_code_and_harms_no_other(changes: dict[str, Any], code: str) -> None:
    wrong = {**PAID, **changes}
    outcome = take([PAID, wrong, {**PAID, "id": "after"}])
    assert len(outcome.accepted) == 2
    (reject,) = outcome.rejects
    assert (reject.index, reject.code, reject.original) == (1, code, msgspec.json.encode(wrong))
    assert reject.message.endswith(".")


@pytest.mark.parametrize("event", [5, None, "x", [], [PAID]])
def test_what_is_no_event_is_rejected(event: Any) -> None:
    outcome = take([event, PAID])
    assert ([reject.code for reject in outcome.rejects], len(outcome.accepted)) == (["not_an_object"], 1)


@pytest.mark.parametrize(
    ("data", "properties"),
    [
        ({"data": {"a": None}}, {"a": None}),
        ({"data": [1, {"b": 2}]}, {"data": [1, {"b": 2}]}),
        ({"data": "text"}, {"data": "text"}),
        ({"data": 17}, {"data": 17}),
        ({"data": None}, {}),
        ({}, {}),
        ({"data": "<a/>", "datacontenttype": "application/xml"}, {}),
        ({"data": {"a": 1}, "datacontenttype": "application/vnd.x+JSON; charset=utf-8"}, {"a": 1}),
        ({"data_base64": packed(b' {"a":1} '), "datacontenttype": PACKED}, {"a": 1}),
        ({"data_base64": packed(b" [1] "), "datacontenttype": PACKED}, {"data": [1]}),
        ({"data_base64": packed(b'\xef\xbb\xbf{"a\\u0000":NaN}'), "datacontenttype": PACKED}, {"a": None}),
        ({"data_base64": packed(b'{"a":1}')}, {"a": 1}),
        ({"data_base64": packed(b" [1] ")}, {"data": [1]}),
        ({"data_base64": packed(b"\x00[\x01" * 40)}, {}),
        ({"data_base64": packed(b"plain words")}, {}),
        ({"data_base64": packed(b"")}, {}),
        ({"data_base64": packed(b'{"a":1}'), "datacontenttype": "text/plain"}, {}),
        ({"data_base64": packed(b"\x00\x01"), "datacontenttype": "application/octet-stream"}, {}),
    ],
)
def test_data_becomes_properties_when_it_is_json(data: dict[str, Any], properties: dict[str, Any]) -> None:
    event = {name: value for name, value in PAID.items() if name != "data"}
    assert msgspec.json.decode(only(take({**event, **data})).properties) == properties


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"data_base64": "no base64!", "datacontenttype": PACKED}, "invalid_data_base64"),
        ({"data_base64": "é", "datacontenttype": PACKED}, "invalid_data_base64"),
        ({"data_base64": True, "datacontenttype": PACKED}, "invalid_data_base64"),
        ({"data_base64": packed(b'{"a":'), "datacontenttype": PACKED}, "invalid_data"),
        ({"data_base64": packed(b""), "datacontenttype": PACKED}, "invalid_data"),
        ({"data_base64": packed(b"[" * 40_000), "datacontenttype": PACKED}, "event_too_deep"),
        ({"data_base64": packed(b"[" * 33 + b"]" * 33)}, "event_too_deep"),
        ({"data_base64": packed(b'{"a":1e999}')}, "invalid_properties"),
        ({"data_base64": packed(b'{"a":1e999}'), "datacontenttype": PACKED}, "invalid_properties"),
    ],
)
def test_data_that_is_not_what_it_says_is_rejected(data: dict[str, Any], code: str) -> None:
    event = {name: value for name, value in PAID.items() if name != "data"}
    assert [reject.code for reject in take({**event, **data}).rejects] == [code]


def test_who_did_it_may_be_said_by_extensions() -> None:
    event = only(take({**PAID, "userid": 7, "anonymousid": "a1", "groupid": "acme"}))
    assert (event.user_id, event.anonymous_id) == ("7", "a1")
    assert (event.account_id, event.account_rule) == ("acme", "groupId")


@pytest.mark.parametrize("subject", [None, "", " "])
def test_an_event_needs_neither_user_nor_account(subject: str | None) -> None:
    event = only(take({**PAID, "subject": subject}))
    assert (event.user_id, event.account_id, event.account_rule) == (None, None, None)


def test_the_subject_comes_last() -> None:
    event = only(take({**PAID, "data": {"company_id": "by property"}}))
    assert (event.account_id, event.account_rule) == ("by property", "properties.company_id")


def test_an_unreadable_time_is_flagged() -> None:
    unreadable: list[Any] = ["yesterday", {}, [1], True]
    for time in unreadable:
        assert only(take({**PAID, "time": time})).flags == ("timestamp_unreadable",)
    assert only(take({**PAID, "time": None})).flags == ("timestamp_missing",)


# --- binary mode ----------------------------------------------------------------------------------------------------


def binary(value: bytes, body: bytes = b"", content_type: bytes = b"application/json") -> Outcome:
    return take(body, {**IN_HEADERS, b"ce-type": value, b"content-type": content_type})


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (b"plain.name", "plain.name"),
        (b"Euro%20%E2%82%AC%20%f0%9f%98%80", "Euro € \U0001f600"),
        (b"100%25", "100%"),
        (b"%7Eneedless", "~needless"),
        (b'"quoted \\"name\\" %20"', 'quoted "name"  '),
        (b'half "quoted"', 'half "quoted"'),
        ("Grüße".encode(), "Grüße"),
        (b"a%00b", "ab"),
        (b"broken %zz", "broken %zz"),
    ],
)
def test_headers_are_decoded(value: bytes, name: str) -> None:
    assert only(binary(value)).event == name


@pytest.mark.parametrize("value", [b"%C0%A0", b"%ff", b"\xff"])
def test_a_header_that_is_no_utf_8_is_refused(value: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        binary(value)
    assert (refusal.value.status, refusal.value.code) == (400, "invalid_attribute")


@pytest.mark.parametrize(
    ("body", "content_type", "properties"),
    [
        (b'{"a":NaN,"b\\u0000":"\xff"}', b"application/json", {"a": None, "b": "�"}),
        (b"[1]", b"application/json", {"data": [1]}),
        (b"", b"application/json", {}),
        (b' {"a":1}', b"", {"a": 1}),
        (b'{"a":1}', b"application/x-www-form-urlencoded", {"a": 1}),
        (b'{"a":1}', b"Text/Plain; charset=utf-8", {"a": 1}),
        (b"{no json", b"text/plain", {}),
        (b'{"a":1}', b"application/xml", {}),
        (b"\x00\x01\xff", b"application/octet-stream", {}),
    ],
)
def test_the_body_is_the_data(body: bytes, content_type: bytes, properties: dict[str, Any]) -> None:
    assert msgspec.json.decode(only(binary(b"t", body, content_type)).properties) == properties


def test_a_rejected_event_can_be_sent_again_as_json() -> None:
    (reject,) = binary(b"t", b'{"a":').rejects
    assert reject.code == "invalid_data"
    original = json.loads(reject.original)
    assert base64.b64decode(original.pop("data_base64")) == b'{"a":'
    assert original == {
        "specversion": "1.0",
        "id": "A234",
        "source": "https://billing.example/eu",
        "type": "t",
        "datacontenttype": "application/json",
    }


def test_a_missing_header_is_a_missing_attribute() -> None:
    (reject,) = take(b"{}", {b"ce-type": b"t", b"content-type": b"application/json"}).rejects
    assert (reject.code, json.loads(reject.original)) == (
        "missing_specversion",
        {"type": "t", "datacontenttype": "application/json", "data": {}},
    )


@pytest.mark.parametrize("content_type", [b"application/cloudevents+avro", b"application/cloudevents-batch+protobuf"])
def test_other_formats_of_events_are_not_taken(content_type: bytes) -> None:
    with pytest.raises(Refused) as refusal:
        take(PAID, {**IN_HEADERS, b"content-type": content_type})
    assert (refusal.value.status, refusal.value.code) == (415, "unknown_event_format")


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", "not_json"), (b"5", "not_an_object"), (b"[{]", "not_json"), (b'[{"a":' * 100_000, "too_deep")],
)
def test_what_is_neither_event_nor_batch_is_refused_as_a_whole(body: bytes, code: str) -> None:
    with pytest.raises(Refused) as refusal:
        take(body)
    assert (refusal.value.status, refusal.value.code) == (400, code)


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        (b"application/cloudevents+json", [PAID], "not_an_object"),
        (b"application/cloudevents-batch+json", PAID, "not_an_array"),
        (b"Application/CloudEvents-Batch+JSON; charset=utf-8", None, "not_an_array"),
    ],
)
def test_the_content_type_says_how_many_there_are(content_type: bytes, body: Any, code: str) -> None:
    with pytest.raises(Refused) as refusal:
        take(body, {b"content-type": content_type})
    assert (refusal.value.status, refusal.value.code) == (400, code)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["1.0", "e30="]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from([*PAID, "data_base64", "datacontenttype", "userid", "groupid"])


@settings(deadline=None)
@given(st.dictionaries(names, anything, max_size=4), st.binary(max_size=20), st.sampled_from(sorted(IN_HEADERS)))
def test_nothing_makes_it_fail_in_another_way(changes: dict[str, Any], noise: bytes, header: bytes) -> None:
    for body, headers in [
        (json.dumps([{**PAID, **changes}]).encode(), {}),
        (noise, {**IN_HEADERS, b"ce-type": b"t", header: noise}),
        (json.dumps(changes).encode(), {**IN_HEADERS, b"content-type": noise}),
    ]:
        try:
            outcome = take(body, headers)
        except Refused:
            continue
        for event in outcome.accepted:
            assert decode(encode(event)) == event
