"""Events survive the wire, and what is no event is told apart by reason."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given

from libs.common.errors import InvalidEvent
from libs.common.events import Event, TelemetryReceived, decode, derived_id, encode
from libs.common.topics import PARTITIONS, Topic, partition_of
from tests.integration.common.tally import telemetry
from tests.unit.common.any_event import EVENT_TYPES, any_event

CANCELLED = (
    b'{"type":"playbook.touch_cancelled.v1","workspace":1,"id":"x","account_id":"a","touch_id":"t","reason":"r"}'
)


@given(any_event)
def test_an_event_comes_back_as_it_went(event: Event) -> None:
    assert decode(encode(event)) == event


@given(any_event)
def test_an_event_knows_its_topic_its_key_and_its_claim(event: Event) -> None:
    assert isinstance(event.destination, Topic)
    assert event.key.startswith(f"{event.workspace}:".encode())
    assert len(event.claim()) == 16
    assert decode(encode(event)).claim() == event.claim()


def test_every_type_is_versioned_and_its_name_is_its_own() -> None:
    tags = [kind.__struct_config__.tag for kind in EVENT_TYPES]
    assert len(set(tags)) == len(tags)
    assert all(isinstance(tag, str) and tag.rpartition(".v")[2].isdigit() for tag in tags)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "not_json"),
        (b"\xff\xfe", "not_json"),
        (CANCELLED[:-1], "not_json"),
        (CANCELLED + b"}", "not_json"),
        (CANCELLED.replace(b'"a"', b'"\\ud800"'), "not_json"),
        (CANCELLED.replace(b'"a"', b'"\xff"'), "not_json"),
        (CANCELLED.replace(b"}", b',"more":NaN}'), "not_json"),
        (CANCELLED.replace(b"cancelled.v1", b"cancelled.v99"), "unknown_type"),
        (b"null", "breaks_contract"),
        (b"[]", "breaks_contract"),
        (b"{}", "breaks_contract"),
        (b'{"type":5}', "breaks_contract"),
        (CANCELLED.replace(b'"account_id":"a",', b""), "breaks_contract"),
        (CANCELLED.replace(b'"a"', b"null"), "breaks_contract"),
        (CANCELLED.replace(b":1,", b':"1",'), "breaks_contract"),
        (CANCELLED.replace(b":1,", b":0,"), "breaks_contract"),
        (CANCELLED.replace(b":1,", b":9223372036854775808,"), "breaks_contract"),
        (CANCELLED.replace(b"}", b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "breaks_contract"),
        (encode(telemetry(1)).replace(b"00:01Z", b"00:01"), "breaks_contract"),
    ],
)
def test_what_is_no_event_is_refused_with_a_reason(value: bytes, reason: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        decode(value)
    assert refused.value.reason == reason


def test_a_newer_field_is_passed_over() -> None:
    assert decode(CANCELLED.replace(b"}", b',"of_a_later_release":{"deep":[1]}}')) == decode(CANCELLED)


def test_claims_stay_what_they_are() -> None:
    """What is claimed today must be recognised by every later release."""
    assert telemetry(1).claim().hex() == "ed5a122c23ec67e83a9ff67c7212a764"
    assert decode(CANCELLED).claim().hex() == "9388316e5da5170baff8f95cb37e91f3"
    assert derived_id(1, "account", "kind", 7) == "6eb39bd3-152c-5b59-bb3e-8556b34355c7"


def test_a_claim_tells_workspaces_and_sources_and_ids_apart() -> None:
    one = telemetry(1)
    others = [
        msgspec.structs.replace(one, workspace=2),
        msgspec.structs.replace(one, source=2),
        msgspec.structs.replace(one, id="message-2"),
    ]
    assert len({event.claim() for event in [one, *others]}) == 4
    assert msgspec.structs.replace(one, event="something else").claim() == one.claim()


def test_history_has_a_lane_of_its_own() -> None:
    event: TelemetryReceived = msgspec.structs.replace(telemetry(1), historical=True)
    assert (telemetry(1).destination, event.destination) == (Topic.TELEMETRY, Topic.TELEMETRY_IMPORT)


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536)],
)
def test_a_key_has_the_partition_that_kafka_itself_would_choose(key: bytes, murmur2: int) -> None:
    """The hashes are those of Apache Kafka's own test of its murmur2."""
    assert partition_of(key) == (murmur2 & 0x7FFFFFFF) % PARTITIONS


def test_keys_use_every_partition() -> None:
    assert {partition_of(f"1:account-{n}".encode()) for n in range(500)} == set(range(PARTITIONS))


def test_dead_letters_of_dead_letters_stay_where_they_are() -> None:
    for topic in Topic:
        assert topic.dead_letters.dead_letters == topic.dead_letters
