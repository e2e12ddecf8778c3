"""Bodies told apart into events, and the answers to those that cannot be."""

from __future__ import annotations

import pytest

from libs.common.errors import Refused
from services.ingest.domain.documents import VALUES_LIMIT, read_batch, read_single


def test_a_batch_is_its_events_and_what_is_said_about_all() -> None:
    document = read_batch(
        b'{"sentAt":"2024-05-01T00:00:00Z","writeKey":"k","historical":true,"context":{"groupId":7},'
        b'"batch":[ {"type":"track"} , 1, "x"],"integrations":{},"new":[]}'
    )
    assert [bytes(event) for event in document.events] == [b'{"type":"track"}', b"1", b'"x"']
    assert (document.write_key, document.sent_at, document.historical) == ("k", "2024-05-01T00:00:00Z", True)
    assert document.context.group_id == 7


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "not_json"),
        (b" ", "not_json"),
        (b"{", "not_json"),
        (b"writeKey=abc&type=track", "not_json"),
        (b"\x00\x01\x02", "not_json"),
        ('{"batch":[]}'.encode("utf-16"), "not_json"),
        (b"{} {}", "not_json"),
        (b'{"batch":[{}', "not_json"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"17", "not_an_object"),
        (b"{}", "batch_missing"),
        (b'{"batch":null}', "batch_missing"),
        (b'{"batch":{}}', "batch_not_an_array"),
        (b'{"batch":"[]"}', "batch_not_an_array"),
        (b'{"batch":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}", "too_deep"),
        (b'{"x":' + b"[" * 100_000, "too_deep"),
        (b'{"sentAt":1e999,"batch":[]}', "number_out_of_range"),
        (b'{"batch":[' + b"0," * (VALUES_LIMIT + 1) + b"0]}", "too_many_values"),
    ],
)
def test_what_is_no_batch_is_refused_with_a_code(body: bytes, code: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_batch(body)
    assert refusal.value.code == code
    assert refusal.value.status == (413 if code == "too_many_values" else 400)


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b'\xef\xbb\xbf{"batch":[1]}', [b"1"]),
        (b'{"batch":[{"a":NaN}]}', [b'{"a":null}']),
        (b'{"batch":[{"a":"\\ud800"},{"b":"good"}]}', [b'{"a":"\\ufffd"}', b'{"b":"good"}']),
        (b'{"batch":[{"a\\u0000":"\\u0000"}]}', [b'{"a":""}']),
        (b'{"batch":[{"a":"\xff"}]}', ['{"a":"\ufffd"}'.encode()]),
        (b'{"batch":[]}', []),
    ],
)
def test_what_can_be_mended_is_taken(body: bytes, events: list[bytes]) -> None:
    assert [bytes(event) for event in read_batch(body).events] == events


@pytest.mark.parametrize("context", [b"null", b"1", b'"x"', b"[]", b'{"groupId":1e999}'])
def test_a_context_that_is_none_counts_as_not_sent(context: bytes) -> None:
    assert read_batch(b'{"batch":[],"context":' + context + b"}").context.group_id is None


@pytest.mark.parametrize("value", [b"1", b'"true"', b"null", b"{}"])
def test_only_true_makes_a_batch_historical(value: bytes) -> None:
    assert read_batch(b'{"batch":[],"historical":' + value + b"}").historical is False


@pytest.mark.parametrize("value", [b"1", b"null", b'""', b'" "', b"{}"])
def test_a_write_key_that_is_no_text_counts_as_not_sent(value: bytes) -> None:
    assert read_single(b'{"writeKey":' + value + b"}").write_key is None


def test_a_single_event_is_the_body_itself() -> None:
    document = read_single(b'{"userId":"u\\u0000","sentAt":"2024-05-01T00:00:00Z","writeKey":"k"}')
    assert [bytes(event) for event in document.events] == [
        b'{"userId":"u","sentAt":"2024-05-01T00:00:00Z","writeKey":"k"}'
    ]
    assert (document.write_key, document.sent_at) == ("k", "2024-05-01T00:00:00Z")
