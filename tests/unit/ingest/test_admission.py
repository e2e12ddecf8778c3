"""Who may come in now: quotas in events, kept by key and lane, and what is done with those who sent too much."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from starlette.types import Message, Receive

from libs.common.errors import Refused
from libs.common.event_log import Record
from libs.common.events import encode
from libs.common.testing import eventually
from services.ingest import quotas as quotas_module
from services.ingest.admission import Admission
from services.ingest.domain.acceptance import Limits, accept
from services.ingest.domain.accounts import AccountNames
from services.ingest.domain.documents import read_batch
from services.ingest.pressure import (
    AHEAD_TIMES,
    BODY_TIMES,
    EVENT_BYTES,
    PART_SECONDS,
    PARTS,
    REQUEST_BYTES,
    SURPLUS_BYTES,
    Busy,
    InFlight,
    Refusals,
    Share,
    most_of_a_request,
)
from services.ingest.quotas import BURST_SECONDS, HISTORY_BURST_SECONDS, OverQuota, Quotas
from services.ingest.write_keys import KeyOwner
from tests.unit.ingest.conftest import arrival

KEY = KeyOwner(workspace=1, source=7, key_id="key")
NEIGHBOUR = KeyOwner(workspace=2, source=8, key_id="neighbour")
SLOW = KeyOwner(workspace=1, source=7, key_id="slow", events_per_s=1)
QUOTA = 10
BURST = QUOTA * BURST_SECONDS
CALL: dict[str, object] = {"type": "track", "event": "x", "userId": "u"}
LONG = {"properties": {"text": "x" * 2000}}


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def quotas(time: Time) -> Quotas:
    return Quotas(QUOTA, QUOTA, now=time)


def is_over(quotas: Quotas, owner: KeyOwner, historical: bool = False) -> bool:
    try:
        quotas.check(owner, historical)
    except OverQuota:
        return True
    return False


def retry_after(refusal: pytest.ExceptionInfo[OverQuota]) -> int:
    seconds = refusal.value.details["retry_after"]
    assert isinstance(seconds, int)
    return seconds


# --- the bucket ---


def test_a_burst_passes_and_then_the_quota(quotas: Quotas, time: Time) -> None:
    for _ in range(BURST):
        quotas.take(KEY, 1, False)
    with pytest.raises(OverQuota) as refusal:
        quotas.take(KEY, 1, False)
    assert (refusal.value.status, refusal.value.code, retry_after(refusal)) == (429, "over_quota", 1)
    assert "key" in refusal.value.message
    assert f"{QUOTA} events a second" in refusal.value.message
    time.now += 3600
    passed = 0
    for _ in range(100 * 1000):
        time.now += 0.001
        if not is_over(quotas, KEY):
            quotas.take(KEY, 1, False)
            passed += 1
    assert passed == pytest.approx(BURST + 100 * QUOTA, abs=2)


def test_a_batch_above_the_burst_passes_a_full_bucket_and_is_owed(quotas: Quotas, time: Time) -> None:
    quotas.take(KEY, BURST + 25 * QUOTA, False)
    with pytest.raises(OverQuota) as refusal:
        quotas.take(KEY, 1, False)
    assert retry_after(refusal) == 25
    time.now += 24.9
    assert is_over(quotas, KEY)
    time.now += 0.2
    quotas.take(KEY, 1, False)


def test_what_is_refused_costs_nothing(quotas: Quotas, time: Time) -> None:
    quotas.take(KEY, BURST + QUOTA, False)
    for _ in range(1000):
        with pytest.raises(OverQuota):
            quotas.take(KEY, 1000, False)
    time.now += 1.01
    assert not is_over(quotas, KEY)


def test_what_was_not_kept_is_given_back(quotas: Quotas) -> None:
    for _ in range(100):
        quotas.take(KEY, BURST + QUOTA, False)
        quotas.give_back(KEY, BURST + QUOTA, False)
        quotas.take(KEY, 0, True)
        quotas.give_back(KEY, 0, True)
    quotas.take(KEY, BURST + QUOTA, False)
    assert is_over(quotas, KEY)
    quotas.give_back(NEIGHBOUR, BURST, False)


def test_nobody_waits_longer_than_clients_obey(quotas: Quotas) -> None:
    quotas.take(SLOW, 2500, False)
    with pytest.raises(OverQuota) as refusal:
        quotas.check(SLOW, False)
    assert retry_after(refusal) == 300


def test_keys_and_lanes_have_buckets_of_their_own(quotas: Quotas) -> None:
    quotas.take(KEY, BURST + 1, True)
    assert is_over(quotas, KEY, historical=True)
    assert not is_over(quotas, KEY)
    quotas.take(KEY, BURST + 1, False)
    assert is_over(quotas, KEY)
    assert not is_over(quotas, NEIGHBOUR)
    assert not is_over(quotas, NEIGHBOUR, historical=True)


def test_a_keys_own_quota_goes_before_the_installations(time: Time) -> None:
    generous = KeyOwner(workspace=1, source=7, key_id="generous", events_per_s=1000)
    for installation in (Quotas(QUOTA, QUOTA, now=time), Quotas(0, 0, now=time)):
        for historical, burst_seconds in ((False, BURST_SECONDS), (True, HISTORY_BURST_SECONDS)):
            installation.take(SLOW, burst_seconds, historical)
            installation.take(generous, 1000 * burst_seconds - 1, historical)
            assert is_over(installation, SLOW, historical)
            assert not is_over(installation, generous, historical)


def test_a_quota_can_be_none(time: Time) -> None:
    without = Quotas(0, 0, now=time)
    for historical in (False, True):
        without.take(KEY, 10**9, historical)
        assert not is_over(without, KEY, historical)


def test_a_quota_that_is_changed_counts_at_once(quotas: Quotas, time: Time) -> None:
    raised = KeyOwner(workspace=1, source=7, key_id="slow", events_per_s=1000)
    quotas.take(SLOW, 1000, False)
    time.now += 1
    assert not is_over(quotas, raised)
    quotas.take(raised, 100, False)
    assert is_over(quotas, raised)
    time.now += 80
    assert is_over(quotas, SLOW)
    time.now += 20
    assert not is_over(quotas, SLOW)


def test_requests_without_events_are_counted_too(quotas: Quotas) -> None:
    for _ in range(BURST):
        quotas.take(KEY, 0, False)
    assert is_over(quotas, KEY)


def test_a_key_is_logged_once_a_minute(quotas: Quotas, time: Time) -> None:
    quotas.take(KEY, BURST * 1000, False)
    (bucket,) = quotas._buckets.values()
    logged_after = []
    for second in range(130):
        assert is_over(quotas, KEY)
        if bucket.refused == 0:
            logged_after.append(second)
        time.now += 1
    assert logged_after == [0, 60, 120]


def test_buckets_that_are_full_again_are_forgotten(quotas: Quotas, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas_module, "REMEMBERED", 100)
    quotas.take(KEY, BURST * 1000, False)
    for number in range(1000):
        time.now += 1
        quotas.take(KeyOwner(workspace=1, source=7, key_id=str(number)), 1, False)
        assert len(quotas._buckets) <= 100
    assert is_over(quotas, KEY)


# --- the door ---


def test_the_door_is_shut_to_a_key_in_debt(quotas: Quotas) -> None:
    admission = Admission(quotas)
    admission.at_the_door(KEY, {}, False)
    admission.take(KEY, BURST + 1, False)
    with pytest.raises(OverQuota):
        admission.at_the_door(KEY, {}, False)
    admission.at_the_door(KEY, {}, True)
    admission.at_the_door(NEIGHBOUR, {}, False)


def test_a_page_that_the_key_is_not_for_is_refused_first(quotas: Quotas) -> None:
    ours = KeyOwner(workspace=1, source=7, key_id="key", origins=frozenset({"https://app.example"}))
    quotas.take(ours, BURST + 1, False)
    with pytest.raises(Refused) as refusal:
        Admission(quotas).at_the_door(ours, {b"origin": b"https://evil.example"}, False)
    assert (refusal.value.status, refusal.value.code) == (403, "origin_not_allowed")


# --- what is held ---


def test_a_key_holds_half_of_the_bytes_at_most() -> None:
    in_flight = InFlight(40 * REQUEST_BYTES)
    with in_flight.request("key") as first, in_flight.request("key") as second:
        first.add(18 * REQUEST_BYTES)
        with pytest.raises(Busy, match="of this write key"):
            second.add(1)
        with pytest.raises(Busy), in_flight.request("key"):
            pass
        with in_flight.request("neighbour") as third:
            third.add(18 * REQUEST_BYTES)
            with pytest.raises(Busy), in_flight.request("another") as fourth:
                fourth.add(REQUEST_BYTES)
    with in_flight.request("key") as all_of_it:
        all_of_it.add(39 * REQUEST_BYTES)
    assert not in_flight._held_of_key


def test_a_request_may_be_larger_than_half_when_its_key_has_no_other() -> None:
    in_flight = InFlight(40 * REQUEST_BYTES)
    with in_flight.request("key") as large:
        for _ in range(30):
            large.add(REQUEST_BYTES)
        with pytest.raises(Busy), in_flight.request("key"):
            pass
        with in_flight.request("neighbour"):
            pass


def test_a_request_is_its_keys_once_that_is_known() -> None:
    in_flight = InFlight(40 * REQUEST_BYTES)
    with in_flight.request("key") as known, in_flight.request() as unknown:
        known.add(18 * REQUEST_BYTES)
        unknown.add(10 * REQUEST_BYTES)
        unknown.is_of("neighbour")
        with in_flight.request() as another:
            another.add(REQUEST_BYTES)
            with pytest.raises(Busy):
                another.is_of("key")
            assert another.held_bytes == 0
    assert (in_flight._held_bytes, in_flight._held_of_key) == (0, {})


def test_room_is_tight_before_it_is_full() -> None:
    in_flight = InFlight(40 * REQUEST_BYTES)
    with in_flight.request("key") as share:
        share.add(4 * REQUEST_BYTES)
        assert not in_flight.is_tight()
        share.add(1)
        assert in_flight.is_tight()


def never() -> None:
    raise AssertionError("it may stay")


def test_an_announced_body_has_its_room_once_a_part_is_here() -> None:
    in_flight = InFlight(60 * REQUEST_BYTES)
    body_bytes = 10 * REQUEST_BYTES // BODY_TIMES
    part = body_bytes // AHEAD_TIMES + 1
    with in_flight.request("key") as first:
        first.arrives(body_bytes, never)
        assert first.held_bytes == REQUEST_BYTES
        first.grow(part // 2, part // 2)
        assert first.held_bytes == REQUEST_BYTES + part // 2 * AHEAD_TIMES * BODY_TIMES
        first.grow(part, part)
        held = first.held_bytes
        assert held == REQUEST_BYTES + body_bytes * BODY_TIMES
        first.grow(body_bytes, body_bytes)
        first.has_arrived()
        first.add_events(body_bytes, 0, 0)
        assert first.held_bytes == held
        first.add_events(body_bytes, 1, 1)
        assert first.held_bytes == held + EVENT_BYTES + SURPLUS_BYTES
    with in_flight.request() as unknown:
        unknown.arrives(10**9, never)
        unknown.grow(1000, 1000)
        assert unknown.held_bytes == REQUEST_BYTES + 1000
        unknown.has_arrived()
    assert (in_flight._held_bytes, in_flight._arriving) == (0, {})


@contextmanager
def arriving(in_flight: InFlight, key_id: str, bytes_held: int) -> Iterator[Share]:
    with in_flight.request(key_id) as share:
        share.arrives(0, lambda: None)
        share.add(bytes_held - REQUEST_BYTES)
        yield share
        share.has_arrived()


def test_who_brings_nothing_gives_way_when_its_room_is_needed(time: Time) -> None:
    in_flight = InFlight(40 * REQUEST_BYTES, time)
    ten = 10 * REQUEST_BYTES
    with (
        arriving(in_flight, "key", ten) as silent,
        arriving(in_flight, "key", ten) as brisk,
        arriving(in_flight, "neighbour", ten) as dripping,
        in_flight.request("neighbour") as at_work,
    ):
        at_work.add(ten - REQUEST_BYTES)
        with pytest.raises(Busy), in_flight.request("third"):
            pass
        for _ in range(21):
            time.now += PART_SECONDS / 20
            brisk.grow(brisk._brought_bytes + ten // PARTS, 0)
            dripping.grow(dripping._brought_bytes + 1, 0)
        with in_flight.request("key"):
            assert [one.gave_way for one in (silent, brisk, dripping)] == [True, False, False]
        with pytest.raises(Busy), in_flight.request("third") as too_large:
            too_large.add(2 * ten)
        assert not dripping.gave_way, "it would not have been enough"
        with in_flight.request("third") as third:
            third.add(15 * REQUEST_BYTES)
            assert [one.gave_way for one in (brisk, dripping, at_work)] == [False, True, False]
    assert (in_flight._held_bytes, in_flight._held_of_key, in_flight._arriving) == (0, {}, {})


def test_a_request_does_not_give_way_to_itself(time: Time) -> None:
    in_flight = InFlight(40 * REQUEST_BYTES, time)
    with in_flight.request() as slow, in_flight.request("key") as at_work:
        slow.arrives(0, never)
        at_work.add(30 * REQUEST_BYTES)
        time.now += PART_SECONDS + 1
        with pytest.raises(Busy):
            slow.grow(20 * REQUEST_BYTES, 20 * REQUEST_BYTES)
        slow.has_arrived()


@pytest.mark.parametrize("batch", [[CALL] * 2500, [CALL | LONG] * 2400, [CALL] * 20_000, [0] * 450_000, [{}] * 2500])
def test_a_request_takes_no_more_than_is_counted(batch: list[object]) -> None:
    written = msgspec.json.encode({"batch": batch})
    limits = Limits()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        body = bytes(bytearray(written))
        document = read_batch(body)
        size, events = len(body), len(document.events)
        del body
        outcome = accept(document, arrival(), limits, AccountNames())
        del document
        records = [Record(event.key, encode(event)) for event in outcome.accepted]
        took, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    judged = min(events, limits.events)
    with InFlight(10**9).request("key") as share:
        share.add(size)
        share.add_events(size, judged, events - judged)
        assert took - before < share.held_bytes
        assert peak - before < share.held_bytes + size
        assert share.held_bytes <= most_of_a_request(size, limits.events)
    assert len(records) == len(outcome.accepted)


# --- refusals that are held back ---


def receiving(*messages: Message) -> tuple[list[Message], asyncio.Event, Receive]:
    waiting, silence = list(messages), asyncio.Event()

    async def receive() -> Message:
        if not waiting:
            await silence.wait()
            return {"type": "http.disconnect"}
        return waiting.pop(0)

    return waiting, silence, receive


def piece(more: bool) -> Message:
    return {"type": "http.request", "body": b"x" * 1000, "more_body": more}


async def test_a_refusal_is_held_and_the_body_thrown_away() -> None:
    waiting, _, receive = receiving(piece(True), piece(True), piece(False))
    assert await Refusals(seconds=0.01).hold(receive)
    assert waiting == []


def test_a_few_refusals_a_second_need_not_wait(time: Time) -> None:
    refusals = Refusals(at_once_per_s=3, now=time)
    for _ in range(2):
        assert [refusals.are_few() for _ in range(5)] == [True, True, True, False, False]
        time.now += 1


async def test_nobody_waits_for_a_client_that_left() -> None:
    _, silence, receive = receiving(piece(True))
    silence.set()
    assert not await asyncio.wait_for(Refusals(seconds=3600).hold(receive), 5)


async def test_refusals_are_held_up_to_a_number() -> None:
    refusals = Refusals(seconds=3600, at_most=3)
    _, silence, receive = receiving()
    held = [asyncio.create_task(refusals.hold(receive)) for _ in range(3)]

    async def all_are() -> bool:
        return refusals._count == 3

    await eventually(all_are)
    assert await asyncio.wait_for(refusals.hold(receive), 5)
    silence.set()
    assert await asyncio.gather(*held) == [False, False, False]
    assert refusals._count == 0
