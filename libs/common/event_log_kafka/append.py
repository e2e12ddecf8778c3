"""The producing side: what is appended to a partition while one batch is on its way travels together in the next."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from libs.common.errors import InvalidEvent, RetryLater
from libs.common.event_log import MAX_RECORD_BYTES, Record
from libs.common.event_log_kafka.client import DEADLINE_SECONDS, REQUEST_SECONDS, hang_up
from libs.common.event_log_metrics import append_seconds, appended
from libs.common.observability import get_logger
from libs.common.topics import partition_of

logger = get_logger(__name__)

BATCH_BYTES = 1_000_000
"""Of a batch before compression. A record that is larger travels alone."""
RECORD_OVERHEAD_BYTES = 100
"""Of the objects that hold a record while it waits."""
HEADER_OVERHEAD_BYTES = 10
"""At most, of the lengths that a header is written with."""
MAX_WAITING_BYTES = 64_000_000
"""More than this is refused at once: Kafka is seconds behind, and memory is not the place to wait."""
HUNG_SECONDS = 2 * DEADLINE_SECONDS
"""aiokafka gives up a batch, retries included, in less. When it does not, it never will."""


class Place(NamedTuple):
    """A partition, by the topic's name on the cluster."""

    topic: str
    partition: int


class _Piece:
    """What one call has for one partition. It is sent in its order, and after a failure nothing more of it is."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.sent = 0
        self.size = sum(one.size + RECORD_OVERHEAD_BYTES for one in records)
        self.durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def given_up(self) -> bool:
        return self.durable.done()

    def fail(self, why: Exception) -> None:
        if not self.durable.done():
            self.durable.set_exception(why)
            self.durable.exception()  # whoever asked may be gone


class Appender:
    """Takes records from many tasks; one batch of each partition is on its way at a time, so their order stays.

    Not idempotent on purpose: aiokafka's idempotent producer never gives up on a dead broker. What is written twice by
    a retry is recognised by its event id.
    """

    def __init__(self, arguments: Mapping[str, Any], name: str) -> None:
        self._arguments = {
            **arguments,
            "client_id": name,
            "acks": "all",
            "enable_idempotence": False,
            "compression_type": "lz4",
            "max_batch_size": BATCH_BYTES,
            "linger_ms": 0,
            "request_timeout_ms": int(REQUEST_SECONDS * 1000),
        }
        self._producer: AIOKafkaProducer | None = None
        self._starting: asyncio.Task[AIOKafkaProducer] | None = None
        self._queues: defaultdict[Place, deque[_Piece]] = defaultdict(deque)
        self._lanes: dict[Place, asyncio.Task[None]] = {}
        self._waiting_bytes = 0
        self._closed = False

    async def open(self) -> None:
        """Raises RetryLater when Kafka does not answer in time."""
        try:
            await self._started()
        except (OSError, KafkaError) as exc:
            raise RetryLater(f"the event log's Kafka does not answer: {str(exc) or 'deadline passed'}") from exc

    async def close(self) -> None:
        """Give up what is waiting: its callers get RetryLater."""
        self._closed = True
        lanes = list(self._lanes.values())
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
        for queue in self._queues.values():
            for piece in queue:
                piece.fail(RetryLater("the event log was closed"))
        self._queues.clear()
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._producer is not None:
            await self._end(self._producer)

    async def append(self, topic: str, records: Sequence[Record], partition: int | None) -> None:
        """Returns when all records are durable. Raises RetryLater after five seconds, or at once when too much waits;
        InvalidEvent, with nothing appended, when one is too large."""
        if self._closed:
            raise RetryLater("the event log is closed")
        by_partition: defaultdict[int, list[Record]] = defaultdict(list)
        for one in records:
            _check_size(topic, one)
            by_partition[partition_of(one.key) if partition is None else partition].append(one)
        if not by_partition:
            return
        if self._waiting_bytes > MAX_WAITING_BYTES:
            raise RetryLater("the event log has too much to store already")
        pieces = [self._enqueue(Place(topic, number), some) for number, some in by_partition.items()]
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                for piece in pieces:
                    await piece.durable
        except TimeoutError as exc:
            raise RetryLater("the event log did not take the records in time") from exc
        finally:
            for piece in pieces:
                piece.durable.cancel()  # no effect on those that are durable

    def _enqueue(self, place: Place, records: Sequence[Record]) -> _Piece:
        piece = _Piece(records)
        self._queues[place].append(piece)
        self._waiting_bytes += piece.size
        if place not in self._lanes:
            self._lanes[place] = asyncio.create_task(self._run(place), name=f"append to {place.topic}")
        return piece

    async def _run(self, place: Place) -> None:
        """Send what waits for one partition, batch after batch, until nothing does."""
        queue = self._queues[place]
        try:
            while queue:
                await self._send_some(place, queue)
        finally:
            del self._lanes[place]
            if not queue:
                self._queues.pop(place, None)

    async def _send_some(self, place: Place, queue: deque[_Piece]) -> None:
        """One batch of the oldest that wait, without those whose caller has gone."""
        producer: AIOKafkaProducer | None = None
        on_its_way: list[_Piece] = []
        try:
            async with asyncio.timeout(HUNG_SECONDS):
                producer = await self._started()
                batch = producer.create_batch()
                self._fill(batch, queue, on_its_way)
                if batch.record_count():
                    with append_seconds.time():
                        await (await producer.send_batch(batch, place.topic, partition=place.partition))
        except asyncio.CancelledError:
            for piece in on_its_way:
                piece.fail(RetryLater("the event log was closed"))
            raise
        except Exception as exc:
            why = _named(exc, place)
            logger.warning("append_failed", topic=place.topic, partition=place.partition, detail=str(why))
            for piece in on_its_way or self._all_of(queue):
                piece.fail(why)
            if producer is not None and (isinstance(exc, TimeoutError) or producer._sender.sender_task.done()):
                await self._end(producer)
        else:
            appended.inc(batch.record_count())
            for piece in on_its_way:
                if piece.sent == len(piece.records) and not piece.durable.done():
                    piece.durable.set_result(None)

    def _fill(self, batch: Any, queue: deque[_Piece], on_its_way: list[_Piece]) -> None:
        """Move records from the queue into the batch, as many as fit; the last piece may stay for the next batch."""
        while queue:
            piece = queue[0]
            if not piece.given_up:
                on_its_way.append(piece)
                while piece.sent < len(piece.records):
                    one = piece.records[piece.sent]
                    headers = list(one.headers.items())
                    if batch.append(key=one.key, value=one.value, timestamp=None, headers=headers) is None:
                        return
                    piece.sent += 1
            queue.popleft()
            self._waiting_bytes -= piece.size

    def _all_of(self, queue: deque[_Piece]) -> Sequence[_Piece]:
        """What waited for a producer that cannot be had."""
        waiting = list(queue)
        queue.clear()
        self._waiting_bytes -= sum(piece.size for piece in waiting)
        return waiting

    # --- the producer ---

    async def _started(self) -> AIOKafkaProducer:
        """The one producer; everybody waits for the same start, and a failed one fails for everybody."""
        if self._producer is not None:
            return self._producer
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start(), name="event log producer starts")
        return await asyncio.shield(self._starting)

    async def _start(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(**self._arguments)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await producer.start()
        except BaseException:
            await self._end(producer)
            raise
        self._producer = producer
        return producer

    async def _end(self, producer: AIOKafkaProducer) -> None:
        """Give it up with all that it has; the next batch makes a new one."""
        if self._producer is producer:
            self._producer = None
        batches = producer._message_accumulator
        not_sent = [batch for queue in batches._batches.values() for batch in queue]
        batches.fail_all(KafkaConnectionError("given up"))  # else stop() waits for them
        for batch in not_sent:
            batch._drain_waiter.exception()  # nobody asks for it, of which asyncio would complain
        await hang_up(producer.client, producer.stop)


def _check_size(topic: str, record: Record) -> None:
    size = record.size + HEADER_OVERHEAD_BYTES * len(record.headers)
    if size > MAX_RECORD_BYTES:
        raise InvalidEvent("too_large", f"A record for {topic} has {size} bytes; at most {MAX_RECORD_BYTES}.")


def _named(exc: Exception, place: Place) -> RetryLater:
    match exc:
        case RetryLater():
            return exc
        case MessageSizeTooLargeError() | RecordListTooLargeError():
            return RetryLater(
                f"Kafka's topic {place.topic} takes no batches of {BATCH_BYTES} bytes; raise its max.message.bytes, "
                "or, where that is 0 because the log was moved away, set KIZASHI_LOG_URL to where it is now"
            )
        case AssertionError() | TypeError():  # how aiokafka says it
            return RetryLater(f"Kafka has no {place.topic}/{place.partition} now")
        case TimeoutError():
            return RetryLater(f"Kafka did not take a batch for {place.topic}/{place.partition} in time")
    return RetryLater(f"Kafka did not take a batch for {place.topic}/{place.partition}: {exc!r}")
