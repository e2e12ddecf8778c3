"""What becomes of each event: its fields, its id, its account, or the reason for which it is refused."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest

from libs.common.events import TelemetryKind, TelemetryReceived, decode, encode
from services.ingest.domain.acceptance import Limits, accept, accept_in_steps
from services.ingest.domain.accounts import AccountNames
from services.ingest.domain.documents import read_batch
from tests.unit.ingest.conftest import NOW, Accept, arrival


def track(**fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Report Exported", "userId": "u1", "messageId": "m1", **fields}


def only(outcome: Any) -> TelemetryReceived:
    assert outcome.rejects == []
    (event,) = outcome.accepted
    assert isinstance(event, TelemetryReceived)
    assert decode(encode(event)) == event, "what is accepted must travel"
    return event


def test_a_call_becomes_telemetry(take: Accept) -> None:
    event = only(
        take(
            track(
                anonymousId="a1",
                timestamp="2026-03-02T11:00:00Z",
                properties={"pages": 3, "deep": {"er": [1, None, True]}},
                context={"groupId": "acme", "library": {"name": "x"}, "ip": "10.0.0.1"},
                integrations={"All": True},
            ),
            sentAt="2026-03-02T12:00:01Z",
        )
    )
    assert (event.workspace, event.source, event.id, event.kind) == (1, 7, "m1", TelemetryKind.TRACK)
    assert (event.event, event.user_id, event.anonymous_id) == ("Report Exported", "u1", "a1")
    assert (event.account_id, event.account_rule) == ("acme", "context.groupId")
    assert bytes(event.properties) == b'{"pages":3,"deep":{"er":[1,null,true]}}'
    assert (event.occurred_at, event.received_at) == (NOW.replace(hour=11), NOW)
    assert (event.original_timestamp, event.sent_at) == ("2026-03-02T11:00:00Z", "2026-03-02T12:00:01Z")
    assert event.flags == ()


@pytest.mark.parametrize(
    ("fields", "user", "anonymous"),
    [
        ({"userId": 42}, "42", None),
        ({"userId": 42.0}, "42", None),
        ({"userId": 42.5}, "42.5", None),
        ({"userId": 2**64}, str(2**64), None),
        ({"userId": 1e300}, "1e+300", None),
        ({"userId": "", "anonymousId": "a"}, None, "a"),
        ({"userId": " \t", "anonymousId": "a"}, None, "a"),
        ({"userId": None, "anonymousId": 7}, None, "7"),
        ({"userId": False, "anonymousId": "a"}, None, "a"),
        ({"userId": " u "}, " u ", None),
        ({"userId": "日" * 200}, "日" * 200, None),
    ],
)
def test_ids_become_strings(take: Accept, fields: dict[str, Any], user: str | None, anonymous: str | None) -> None:
    event = only(take(track(**fields)))
    assert (event.user_id, event.anonymous_id) == (user, anonymous)


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (b"1", "not_an_object"),
        (b"null", "not_an_object"),
        (b"[]", "not_an_object"),
        (b'"x"', "not_an_object"),
        (b"{}", "unknown_type"),
        (track(type="charge"), "unknown_type"),
        (track(type=None), "unknown_type"),
        (track(type=5), "unknown_type"),
        (track(type={}), "unknown_type"),
        (track(userId=None), "missing_user"),
        (track(userId=""), "missing_user"),
        (track(userId=True), "missing_user"),
        (track(userId={}), "invalid_user_id"),
        (track(userId=["u"]), "invalid_user_id"),
        (b'{"type":"track","event":"x","userId":1e999}', "invalid_user_id"),
        (b'{"type":"track","event":"x","userId":' + b"9" * 4000 + b"}", "user_id_too_long"),
        (b'{"type":"track","event":"x","userId":' + b"9" * 5000 + b"}", "invalid_user_id"),
        (track(anonymousId={}), "invalid_anonymous_id"),
        (track(userId="u" * 201), "user_id_too_long"),
        (track(anonymousId="u" * 201), "anonymous_id_too_long"),
        (track(groupId="u" * 201), "account_id_too_long"),
        (track(previousId="u" * 201), "previous_id_too_long"),
        (track(messageId="m" * 101), "message_id_too_long"),
        (track(messageId={}), "invalid_message_id"),
        (track(event=None), "missing_event"),
        (track(event=" "), "missing_event"),
        (track(event={}), "invalid_event"),
        (track(event="e" * 201), "event_too_long"),
        (track(properties=[]), "invalid_properties"),
        (track(properties="x"), "invalid_properties"),
        (b'{"type":"track","event":"x","userId":"u","properties":{"n":{"m":[1e999]}}}', "invalid_properties"),
        (b'{"type":"track","event":"x","userId":"u","properties":{"n":' + b"9" * 5000 + b"}}", "invalid_properties"),
        (track(traits=5), "invalid_traits"),
        (track(properties={"long": "x" * 65536}), "event_too_large"),
        (
            b'{"type":"track","event":"x","userId":"u","properties":' + b'{"a":' * 32 + b"1" + b"}" * 33,
            "event_too_deep",
        ),
        ({"type": "group", "userId": "u1"}, "missing_group_id"),
        ({"type": "group", "userId": "u1", "groupId": ""}, "missing_group_id"),
        ({"type": "alias"}, "missing_user"),
        ({"type": "identify", "traits": {"a": 1}}, "missing_user"),
    ],
)
def test_an_invalid_event_is_refused_with_a_code_and_harms_no_other(
    take: Accept, event: dict[str, Any] | bytes, code: str
) -> None:
    outcome = take(track(messageId="before"), event, track(messageId="after"))
    assert [event.id for event in outcome.accepted] == ["before", "after"]
    (reject,) = outcome.rejects
    assert (reject.index, reject.code) == (1, code)
    assert reject.message.endswith(".")
    assert reject.original == (event if isinstance(event, bytes) else msgspec.json.encode(event))


def test_a_reject_carries_its_message_id_when_it_has_one(take: Accept) -> None:
    outcome = take(track(event=None), track(userId={}))
    assert [reject.message_id for reject in outcome.rejects] == ["m1", None]


@pytest.mark.parametrize("depth", [31, 32])
def test_depth_is_counted_by_nesting_and_not_by_brackets(take: Accept, depth: int) -> None:
    nested = b'{"a":' * (depth - 1) + b'"[[[{{{"' + b"}" * (depth - 1)
    wide = b'{"type":"track","event":"x","userId":"u","x":[' + b",".join([b"{}"] * 100) + b'],"properties":%b}'
    only(take(wide % nested))


def test_surplus_events_are_rejected_unread(take: Accept) -> None:
    outcome = take(*(track(messageId=str(n)) for n in range(5)), limits=Limits(events=3))
    assert [event.id for event in outcome.accepted] == ["0", "1", "2"]
    assert (outcome.judged, len(outcome.surplus), outcome.rejected) == (3, 2, 2)


@pytest.mark.parametrize(
    ("kind", "fields", "name"),
    [
        (TelemetryKind.TRACK, {"event": "Clicked"}, "Clicked"),
        (TelemetryKind.TRACK, {"event": 404}, "404"),
        (TelemetryKind.PAGE, {"name": "Home"}, "Page Viewed"),
        (TelemetryKind.SCREEN, {}, "Screen Viewed"),
        (TelemetryKind.IDENTIFY, {}, "$identify"),
        (TelemetryKind.GROUP, {"groupId": "acme"}, "$group"),
        (TelemetryKind.ALIAS, {"previousId": "a"}, "$alias"),
    ],
)
def test_the_path_names_the_kind_and_the_kind_the_event(
    take: Accept, kind: TelemetryKind, fields: dict[str, Any], name: str
) -> None:
    by_type = only(take({"type": kind.value, "userId": "u", **fields}))
    by_path = only(take({"type": "unknown", "userId": "u", **fields}, kind=kind))
    assert (by_type.event, by_path.event) == (name, name)
    assert (by_type.kind, by_path.kind) == (kind, kind)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "track", "event": "Invoice Paid", "groupId": "acme"},
        {"type": "track", "event": "Invoice Paid", "properties": {"account_id": "acme"}},
        {"type": "group", "groupId": "acme", "traits": {"plan": "gold"}},
        {"type": "alias", "previousId": "a1"},
    ],
)
def test_systems_that_know_no_user_may_send(take: Accept, event: dict[str, Any]) -> None:
    assert only(take(event)).user_id is None


FIRST_TO_LAST: list[tuple[dict[str, Any], str]] = [
    ({"context": {"groupId": "A"}}, "context.groupId"),
    ({"groupId": "A"}, "groupId"),
    ({"properties": {"$groups": {"company": "A"}}}, "properties.$groups.company"),
    ({"properties": {"account_id": "A"}}, "properties.account_id"),
    ({"properties": {"company_id": "A"}}, "properties.company_id"),
    ({"properties": {"org_id": "A"}}, "properties.org_id"),
    ({"traits": {"company": {"id": "A"}}}, "traits.company.id"),
]


@pytest.mark.parametrize(("fields", "rule"), FIRST_TO_LAST)
def test_each_rule_finds_the_account_and_gives_its_name(take: Accept, fields: dict[str, Any], rule: str) -> None:
    event = only(take(track(**fields)))
    assert (event.account_id, event.account_rule) == ("A", rule)


@pytest.mark.parametrize("first", range(len(FIRST_TO_LAST) - 1))
def test_the_first_rule_that_matches_wins(take: Accept, first: int) -> None:
    fields: dict[str, Any] = {}
    for later, _ in FIRST_TO_LAST[first + 1 :]:
        for name, value in later.items():
            fields[name] = (
                {**fields[name], **_with_b(value)} if isinstance(value, dict) and name in fields else _with_b(value)
            )
    winner, rule = FIRST_TO_LAST[first]
    for name, value in winner.items():
        fields[name] = {**fields[name], **value} if isinstance(value, dict) and name in fields else value
    event = only(take(track(**fields)))
    assert (event.account_id, event.account_rule) == ("A", rule)


def _with_b(value: Any) -> Any:
    return {name: _with_b(inner) for name, inner in value.items()} if isinstance(value, dict) else "B"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"context": {"groupId": ""}, "groupId": None},
        {"context": {"groupId": {"id": "A"}}, "properties": {"account_id": ["A"]}},
        {"properties": {"$groups": "A"}, "traits": {"company": "A"}},
        {"properties": {"$groups": {"team": "A"}}, "traits": {"company": {"id": True}}},
        {"context": "acme"},
        {"context": None},
    ],
)
def test_an_event_that_names_no_account_is_left_to_its_users_groups(take: Accept, fields: dict[str, Any]) -> None:
    event = only(take(track(**fields)))
    assert (event.account_id, event.account_rule) == (None, None)


def test_a_group_calls_account_is_its_group(take: Accept) -> None:
    event = only(take({"type": "group", "userId": "u", "groupId": 7, "context": {"groupId": "previous"}}))
    assert (event.account_id, event.account_rule) == ("7", "group")


def test_what_products_call_an_account_can_be_configured(take: Accept) -> None:
    names = AccountNames(groups=("team",), properties=("tenant",))
    assert only(take(track(properties={"tenant": "A"}), names=names)).account_rule == "properties.tenant"
    assert only(take(track(properties={"$groups": {"team": "A"}}), names=names)).account_id == "A"
    assert only(take(track(properties={"account_id": "A"}), names=names)).account_id is None


def test_a_batchs_context_lies_under_each_events_own(take: Accept) -> None:
    context = {"groupId": "batch", "traits": {"plan": "batch"}}
    identify: dict[str, Any] = {"type": "identify", "userId": "u"}
    assert only(take(track(), context=context)).account_id == "batch"
    assert only(take(track(context={"groupId": "own"}), context=context)).account_id == "own"
    for blank in ("", " ", None, False):
        event = only(take(track(context={"groupId": blank}, groupId="events"), context=context))
        assert (event.account_id, event.account_rule) == ("batch", "context.groupId")
    assert only(take(track(context={"library": {}}), context=context)).account_id == "batch"
    assert bytes(only(take(identify, context=context)).traits) == b'{"plan":"batch"}'
    own = {"traits": {"plan": "own"}}
    assert bytes(only(take({**identify, "context": own}, context=context)).traits) == b'{"plan":"own"}'


@pytest.mark.parametrize(
    ("call", "traits"),
    [
        ({"traits": {"a": 1}}, b'{"a":1}'),
        ({"context": {"traits": {"b": 2}}}, b'{"b":2}'),
        ({"traits": {"a": 1}, "context": {"traits": {"a": 0, "b": 2}}}, b'{"a":1,"b":2}'),
        ({"traits": None, "context": {"traits": None}}, b"{}"),
        ({"traits": {"a": 1}, "context": {"traits": "none"}}, b'{"a":1}'),
        ({}, b"{}"),
    ],
)
def test_an_identify_calls_traits_lie_above_its_contexts(take: Accept, call: dict[str, Any], traits: bytes) -> None:
    assert bytes(only(take({"type": "identify", "userId": "u", **call})).traits) == traits


def test_a_users_traits_do_not_become_an_accounts(take: Accept) -> None:
    group = {"type": "group", "userId": "u", "groupId": "A", "context": {"traits": {"email": "x"}}}
    assert bytes(only(take(group)).traits) == b"{}"


def test_a_users_company_names_the_account_of_what_it_does(take: Accept) -> None:
    event = only(take(track(context={"traits": {"company": {"id": 9}}})))
    assert (event.account_id, event.account_rule, bytes(event.traits)) == ("9", "traits.company.id", b"{}")


def test_a_pages_name_goes_among_its_properties(take: Accept) -> None:
    page = {"type": "page", "userId": "u", "name": "Home"}
    assert bytes(only(take(page)).properties) == b'{"name":"Home"}'
    assert bytes(only(take({**page, "properties": {"name": "Own"}})).properties) == b'{"name":"Own"}'


# --- ids -----------------------------------------------------------------------------------------------------------


def test_a_message_id_is_opaque(take: Accept) -> None:
    assert only(take(track(messageId="ajs-next-not a uuid"))).id == "ajs-next-not a uuid"
    assert only(take(track(messageId=5))).id == "5"


def test_an_event_sent_again_without_a_message_id_is_the_same_event(take: Accept) -> None:
    sent = track(messageId=None, timestamp="2026-03-02T11:00:00Z", sentAt="2026-03-02T11:00:01Z")
    again = {**sent, "sentAt": "2026-03-02T11:07:00Z", "writeKey": "k"}
    first = only(take(sent)).id
    assert uuid.UUID(first).version == 5
    assert only(take(again)).id == first
    assert only(take(again, kind=TelemetryKind.TRACK)).id == first
    for difference in ({"timestamp": "2026-03-02T11:00:00.001Z"}, {"userId": "u2"}, {"properties": {"a": 1}}):
        assert only(take({**sent, **difference})).id != first
    assert only(take(sent, kind=TelemetryKind.PAGE)).id != first


@pytest.mark.parametrize("timestamp", [None, "", "yesterday"])
def test_without_a_time_nothing_tells_two_events_apart_so_both_count(take: Accept, timestamp: str | None) -> None:
    sent = track(messageId="", timestamp=timestamp)
    outcome = take(sent, sent)
    assert [event.id for event in outcome.accepted] == ["fresh-0", "fresh-1"]


# --- times ---------------------------------------------------------------------------------------------------------


def test_the_batchs_sent_at_is_the_clients_clock_and_the_events_own_comes_second(take: Accept) -> None:
    late = track(timestamp="2026-03-02T08:00:00Z", sentAt="2026-03-02T08:00:00Z")
    assert only(take(late)).flags == ("skew_corrected",)
    assert only(take(late)).occurred_at == NOW
    assert only(take(late, sentAt="2026-03-02T12:00:00Z")).occurred_at == NOW.replace(hour=8)


def test_an_archive_was_sent_long_ago_which_says_nothing_of_todays_clock() -> None:
    archived = track(timestamp="2025-03-02T08:00:00Z", sentAt="2025-03-02T08:00:05Z")
    document = read_batch(msgspec.json.encode({"batch": [archived]}))
    event = only(accept(document, arrival(historical=True), Limits(), AccountNames()))
    assert (event.occurred_at, event.flags) == (NOW.replace(year=2025, hour=8), ())
    assert event.sent_at == "2025-03-02T08:00:05Z"


@pytest.mark.parametrize("sent", ["2025-03-02T08:00:05Z", "2024-01-01T00:00:00Z", "2099-01-01T00:00:00Z"])
def test_nor_does_it_when_the_document_says_so(sent: str) -> None:
    old = track(timestamp="2025-03-02T08:00:00Z", sentAt="2025-03-02T08:00:05Z")
    document = read_batch(msgspec.json.encode({"batch": [old], "sentAt": sent, "historical": True}))
    event = only(accept(document, arrival(historical=True), Limits(), AccountNames()))
    assert (event.occurred_at, event.flags) == (NOW.replace(year=2025, hour=8), ())
    assert event.sent_at == sent


def test_the_original_timestamp_counts_where_it_is_the_only_one(take: Accept) -> None:
    event = only(take(track(originalTimestamp="2026-03-02T08:00:00Z")))
    assert (event.occurred_at, event.original_timestamp) == (NOW.replace(hour=8), "2026-03-02T08:00:00Z")


@pytest.mark.parametrize("timestamp", [{}, [], "x" * 5000])
def test_a_time_of_no_kind_is_flagged_and_kept_short(take: Accept, timestamp: Any) -> None:
    event = only(take(track(timestamp=timestamp)))
    assert (event.occurred_at, event.flags) == (NOW, ("timestamp_unreadable",))
    assert len(event.original_timestamp or "") <= 64


@pytest.mark.parametrize("at_once", [1, 3, 10, 100])
def test_deciding_in_steps_decides_the_same(at_once: int) -> None:
    events = [track(messageId=str(n)) if n % 3 else {"type": "track"} for n in range(10)]
    document = read_batch(msgspec.json.encode({"batch": events}))
    limits = Limits(events=8)
    steps = list(accept_in_steps(document, arrival(), limits, AccountNames(), at_once))
    assert len(steps) == -(-limits.events // at_once)
    assert steps[-1] == accept(document, arrival(), limits, AccountNames())
