"""What reaches the log, and what is said of a log that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import msgspec
import pytest

from libs.common.errors import RetryLater
from libs.common.event_log import Record, StartAt, Subscription, TopicPartition
from libs.common.events import decode
from libs.common.testing import eventually
from libs.common.topics import PARTITIONS, Topic
from services.ingest.domain.acceptance import Limits
from services.ingest.pace import PIECE_EVENTS
from services.ingest.pressure import NotNow
from services.ingest.publisher import LETTER_BYTES, Publisher
from tests.unit.ingest.conftest import Accept, arrival


class MemoryLog:
    """An event log that keeps what is appended, unless it is told to fail or to hang."""

    def __init__(self) -> None:
        self.records: dict[Topic, list[Record]] = {topic: [] for topic in Topic}
        self.failing = False
        self.hanging = False
        self.read_only = False
        self.appends: list[int] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def identity(self, topic: Topic) -> str:
        return "memory"

    async def append(self, topic: Topic, records: Sequence[Record], partition: int | None = None) -> None:
        await self._answer()
        if self.read_only:
            raise RetryLater("the log's disk is full")
        self.records[topic] += records
        self.appends.append(len(records))

    async def ends(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        await self._answer()
        return {TopicPartition(topic, number): 0 for topic in topics for number in range(PARTITIONS)}

    async def starts(self, topics: Sequence[Topic]) -> Mapping[TopicPartition, int]:
        return await self.ends(topics)

    async def appended_at(self, positions: Mapping[TopicPartition, int]) -> Mapping[TopicPartition, datetime]:
        raise NotImplementedError("ingest reads nothing")

    def subscribe(
        self, group: str, topics: Sequence[Topic], start_at: StartAt
    ) -> AbstractAsyncContextManager[Subscription]:
        raise NotImplementedError("ingest reads nothing")

    async def _answer(self) -> None:
        if self.hanging:
            await asyncio.Event().wait()
        if self.failing:
            raise RetryLater("the log sleeps")


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def publisher(log: MemoryLog) -> Publisher:
    return Publisher(log, deadline_seconds=5, silent_seconds=30)


GOOD = {"type": "track", "event": "x", "userId": "u", "messageId": "good"}
BAD = {"type": "track", "userId": "u", "messageId": "bad"}


async def test_events_go_to_their_lane_and_rejects_to_its_dead_letters(
    publisher: Publisher, log: MemoryLog, take: Accept
) -> None:
    outcome = take(GOOD, BAD)
    await publisher.publish(outcome, arrival())
    await publisher.publish(outcome, arrival(historical=True))
    for lane in (Topic.TELEMETRY, Topic.TELEMETRY_IMPORT):
        (record,) = log.records[lane]
        assert decode(record.value) == outcome.accepted[0]
        assert record.key == outcome.accepted[0].key
        (letter,) = log.records[lane.dead_letters]
        assert letter.value == msgspec.json.encode(BAD)
        assert letter.key == b"1:source:7"
        assert letter.headers["reason"] == b"missing_event"
        assert letter.headers["message_id"] == b"bad"
        assert letter.headers["group"] == b"ingest"


async def test_history_goes_to_the_log_little_by_little(publisher: Publisher, log: MemoryLog, take: Accept) -> None:
    events = [{**GOOD, "messageId": str(n)} for n in range(2 * PIECE_EVENTS + 1)]
    await publisher.publish(take(*events), arrival(historical=True))
    assert [decode(record.value).id for record in log.records[Topic.TELEMETRY_IMPORT]] == [
        str(n) for n in range(len(events))
    ]
    assert log.appends == [PIECE_EVENTS, PIECE_EVENTS, 1]
    await publisher.publish(take(*events), arrival())
    assert log.appends[3:] == [len(events)]


async def test_dead_letters_hold_no_write_key(publisher: Publisher, log: MemoryLog, take: Accept) -> None:
    outcome = take({**BAD, "writeKey": "kzw_secret"}, {**GOOD, "writeKey": "kzw_secret"}, limits=Limits(events=1))
    await publisher.publish(outcome, arrival())
    refused, surplus = (msgspec.json.decode(letter.value) for letter in log.records[Topic.TELEMETRY_DLQ])
    assert (refused, surplus) == ({**BAD, "writeKey": "…"}, [{**GOOD, "writeKey": "…"}])


async def test_surplus_events_travel_many_to_a_letter(publisher: Publisher, log: MemoryLog, take: Accept) -> None:
    events = [{**GOOD, "messageId": str(n), "properties": {"x": "y" * 1000}} for n in range(2000)]
    outcome = take(*events, limits=Limits(events=1))
    await publisher.publish(outcome, arrival())
    letters = log.records[Topic.TELEMETRY_DLQ]
    assert len(letters) == 5
    kept = [event for letter in letters for event in msgspec.json.decode(letter.value)]
    assert kept == events[1:]
    assert {letter.headers["reason"] for letter in letters} == {b"too_many_events"}


async def test_a_letter_is_never_larger_than_the_log_takes(publisher: Publisher, log: MemoryLog, take: Accept) -> None:
    huge = msgspec.json.encode({**GOOD, "properties": {"x": "y" * 2_000_000}})
    await publisher.publish(take(huge), arrival())
    (letter,) = log.records[Topic.TELEMETRY_DLQ]
    assert letter.value == huge[:LETTER_BYTES]
    assert letter.headers["whole_bytes"] == str(len(huge)).encode()


@pytest.mark.parametrize("historical", [False, True])
async def test_a_log_that_does_not_answer_in_time_is_not_now(log: MemoryLog, take: Accept, historical: bool) -> None:
    log.failing = not historical  # which it does by itself, but not for many appends together
    log.hanging = historical
    publisher = Publisher(log, deadline_seconds=0.05, silent_seconds=30)
    with pytest.raises(NotNow) as refusal:
        await publisher.publish(take(GOOD, BAD), arrival(historical=historical))
    assert refusal.value.code == "log_unavailable"
    assert 1 <= refusal.value.retry_after_seconds <= 300


@pytest.fixture
async def watched(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Publisher]:
    """A publisher that asks all the time, with little patience."""
    monkeypatch.setattr("services.ingest.publisher.ASK_AGAIN_SECONDS", 0.005)
    publisher = Publisher(log, deadline_seconds=5, silent_seconds=0.05)
    stopping = asyncio.Event()
    watching = asyncio.create_task(publisher.watch(stopping))
    yield publisher
    log.failing = log.hanging = False
    stopping.set()
    await watching


async def test_readiness_ends_with_silence_and_comes_back(watched: Publisher, log: MemoryLog) -> None:
    async def ready() -> bool:
        return await watched.ready() is None

    async def red() -> bool:
        return not await ready()

    await eventually(ready)
    log.failing = True
    await eventually(red)
    assert "has not answered for" in (await watched.ready() or "")
    log.failing = False
    await eventually(ready)


async def test_readiness_survives_a_failed_append(publisher: Publisher, log: MemoryLog, take: Accept) -> None:
    await publisher.publish(take(GOOD), arrival())
    log.failing = True
    with pytest.raises(NotNow):
        await publisher.publish(take(GOOD), arrival())
    assert await publisher.ready() is None


async def test_a_log_that_answers_questions_and_fails_appends_is_no_log(
    watched: Publisher, log: MemoryLog, take: Accept
) -> None:
    async def red() -> bool:
        with pytest.raises(NotNow):
            await watched.publish(take(GOOD), arrival())
        return "has not acknowledged an append" in (await watched.ready() or "")

    await watched.publish(take(GOOD), arrival())
    log.read_only = True
    await eventually(red)
    log.read_only = False
    await watched.publish(take(GOOD), arrival())
    assert await watched.ready() is None


async def test_an_empty_batch_asks_nothing_of_the_log(publisher: Publisher, log: MemoryLog, take: Accept) -> None:
    log.failing = True
    await publisher.publish(take(), arrival())
    assert await publisher.ready() == "the event log has not answered yet"
