"""What a batch says, whatever its order and borders."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.events import TelemetryKind, TelemetryReceived
from services.health import keys
from services.health.domain import Activity
from services.health.tally import LONGEST_EMAIL, Lane, RequestKind, Span, Tally, tally

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEPT = {"Ticket Opened": frozenset({"priority"})}
ACTIVITY = Activity(exclude_email_domains=("ours.example",))


def _event(kind: TelemetryKind = TelemetryKind.TRACK, **fields: object) -> TelemetryReceived:
    given: dict[str, Any] = {
        "workspace": 1,
        "id": "m",
        "source": 1,
        "event": "Used",
        "occurred_at": NOON,
        "received_at": NOON,
        **fields,
    }
    for name in ("properties", "traits"):
        if name in given:
            given[name] = msgspec.Raw(msgspec.json.encode(given[name]))
    return TelemetryReceived(kind=kind, **given)


def _tally(*events: TelemetryReceived) -> Tally:
    return tally(events, KEPT, ACTIVITY)


_events = st.builds(
    _event,
    kind=st.sampled_from(TelemetryKind),
    id=st.uuids().map(str),
    event=st.sampled_from(["Used", "Ticket Opened"]),
    user_id=st.sampled_from([None, "ann", "bob"]),
    anonymous_id=st.sampled_from([None, "ann", "visitor"]),
    previous_id=st.sampled_from([None, "ann"]),
    account_id=st.sampled_from([None, "acme"]),
    occurred_at=st.integers(0, 60).map(lambda hours: NOON + timedelta(hours=hours)),
    received_at=st.integers(0, 60).map(lambda hours: NOON + timedelta(hours=hours)),
    historical=st.booleans(),
)


def _added(one: Tally, other: Tally) -> Tally:
    """As the tables add batches up: sums, minima, maxima."""

    def spans(ours: dict, theirs: dict) -> dict:  # type: ignore[type-arg]
        return {
            key: Span(
                min(span.first_at for span in found),
                max(span.last_at for span in found),
                sum(span.n for span in found),
            )
            for key in ours | theirs
            if (found := [rows[key] for rows in (ours, theirs) if key in rows])
        }

    return Tally(
        usage=spans(one.usage, other.usage),
        group_calls=spans(one.group_calls, other.group_calls),
        links=spans(one.links, other.links),
        emails=one.emails | other.emails,
        occurrences=one.occurrences | other.occurrences,
        requests={
            key: max(found)
            for key in one.requests | other.requests
            if (found := [rows[key] for rows in (one.requests, other.requests) if key in rows])
        },
        sources=one.sources | other.sources,
    )


@given(st.lists(_events, max_size=12, unique_by=lambda event: event.id), st.randoms(), st.integers(0, 12))
def test_order_and_borders_of_batches_leave_no_trace(
    events: Sequence[TelemetryReceived], random: Random, border: int
) -> None:
    shuffled = list(events)
    random.shuffle(shuffled)
    assert _added(_tally(*shuffled[:border]), _tally(*shuffled[border:])) == _tally(*events)


@given(st.lists(_events, max_size=12))
def test_every_event_is_counted_once(events: Sequence[TelemetryReceived]) -> None:
    assert sum(span.n for span in _tally(*events).usage.values()) == len(events)


def test_of_an_event_that_is_looked_inside_only_the_allowed_is_kept() -> None:
    properties = {"priority": "urgent", "body": "private", "tags": ["a"]}
    ((_, kept),) = _tally(_event(event="Ticket Opened", properties=properties)).occurrences.items()
    assert kept.properties == b'{"priority":"urgent"}'
    assert _tally(_event(properties=properties)).occurrences == {}


def test_a_machine_is_nobody_and_its_account_is_asked_for_by_name() -> None:
    counted = _tally(_event(account_id="acme"))
    assert [key.user_key for key in counted.usage] == [keys.NOBODY]
    assert [(key.kind, key.user_key, key.target) for key in counted.requests] == [
        (RequestKind.USED, keys.NOBODY, "acme")
    ]


def test_ids_that_are_spelt_alike_are_told_apart() -> None:
    counted = _tally(_event(user_id="42"), _event(anonymous_id="42"), _event(account_id="42"))
    assert len({key.user_key for key in counted.usage}) == 3


def test_an_id_is_no_alias_of_itself() -> None:
    counted = _tally(_event(TelemetryKind.ALIAS, user_id="ann", previous_id="ann"))
    assert [key.user_key for key in counted.links] == [keys.anonymous("ann")]


def test_whoever_turns_out_to_be_one_of_us_is_counted_again() -> None:
    def kinds(email: str) -> set[RequestKind]:
        counted = _tally(_event(TelemetryKind.IDENTIFY, user_id="sam", traits={"email": email}))
        return {key.kind for key in counted.requests}

    assert kinds("sam@ours.example") == {RequestKind.USED, RequestKind.RECOUNTED}
    assert kinds("sam@theirs.example") == {RequestKind.USED}


def test_history_travels_in_its_own_lane() -> None:
    counted = _tally(_event(user_id="ann", historical=True), _event(user_id="ann"))
    assert {key.lane for key in counted.requests} == {Lane.LIVE, Lane.IMPORT}


def test_what_a_model_looks_inside_is_urgent_unless_it_is_history() -> None:
    def lanes(**fields: Any) -> set[Lane]:
        return {key.lane for key in _tally(_event(user_id="ann", **fields)).requests}

    assert lanes() == {Lane.LIVE}
    assert lanes(event="Ticket Opened") == {Lane.URGENT}
    assert lanes(event="Ticket Opened", historical=True) == {Lane.IMPORT}


def test_properties_that_are_no_object_say_nothing() -> None:
    counted = _tally(
        _event(TelemetryKind.GROUP, account_id="acme", traits=["a"]),
        _event(event="Ticket Opened", id="m2", user_id="ann", properties="text"),
    )
    assert counted.account_traits == {}
    assert [kept.properties for kept in counted.occurrences.values()] == [b"{}"]


@pytest.mark.parametrize(("length", "kept"), [(LONGEST_EMAIL, 1), (LONGEST_EMAIL + 1, 0), (6000, 0)])
def test_an_address_that_is_none_is_not_kept(length: int, kept: int) -> None:
    """What a hostile client can put into an event stays within what an index can hold."""
    email = "@x.example".rjust(length, "a")
    assert len(_tally(_event(TelemetryKind.IDENTIFY, user_id="ada", traits={"email": email})).emails) == kept
