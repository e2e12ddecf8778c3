"""The producing side: what is appended while one wave is on its way to a broker travels together in the next.

Not by aiokafka's producer: that one sends what each partition has as soon as it can, in small batches of which each
costs nearly as much as a large one, and there are troubles after which it never sends again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from time import monotonic
from typing import Any

from aiokafka.client import AIOKafkaClient

from libs.common.deadline import Deadline
from libs.common.errors import InvalidEvent, RetryLater
from libs.common.event_log import MAX_RECORD_BYTES, Record
from libs.common.event_log_kafka.client import AGAIN_SECONDS, REQUEST_SECONDS, KafkaClient, NotYet
from libs.common.event_log_kafka.identity import describe
from libs.common.event_log_kafka.lane import Call, Lane, Parcel, Piece, Road, Waiting
from libs.common.event_log_kafka.produce import Place, produce
from libs.common.event_log_kafka.tempo import Tempo
from libs.common.event_log_metrics import append_seconds, appended
from libs.common.observability import get_logger
from libs.common.topics import partition_of

logger = get_logger(__name__)

ROADS = 6
"""To each broker, which stores what comes by one of them partition after partition, forcing each to disk where that is
asked of it."""
TRIED_SECONDS = REQUEST_SECONDS
"""Before a parcel is given up that Kafka does not take for a reason that may pass."""
RECORD_OVERHEAD_BYTES = 100
"""Of the objects that hold a record while it waits."""
HEADER_OVERHEAD_BYTES = 10
"""At most, of the lengths that a header is written with."""
MAX_WAITING_BYTES = 64_000_000
"""More than this is refused at once: Kafka is seconds behind, and memory is not the place to wait."""

Wave = Sequence[tuple[Lane, Parcel]]


class Appender:
    """Takes records for one topic from many tasks. One wave at a time is on its way by each road to a broker, with one
    batch for each partition of that road for which something waits. Topics share nothing but the bound on what waits,
    so what is sent live waits for no import.

    Not idempotent on purpose: what is written twice by a retry is recognised by its event id.
    """

    def __init__(
        self,
        topic: str,
        arguments: Mapping[str, Any],
        name: str,
        *,
        roads: int,
        asking: KafkaClient,
        waiting: Waiting,
        append_seconds: float,
    ) -> None:
        """``topic`` by its name on the cluster; so many ``roads`` to each broker; ``asking`` is for questions about who
        leads which partition."""
        self._topic = topic
        self._arguments = arguments
        self._name = name
        self._roads = roads
        self._asking = asking
        self._waiting = waiting
        self._deadline = Deadline(append_seconds, "the event log did not take the records in time")
        self._lanes: dict[int, Lane] = {}
        """By partition."""
        self._departure: asyncio.TimerHandle | None = None
        self._tempo = Tempo()
        self._calls_since = self._records_since = 0
        """The last departure."""
        self._clients: dict[Road, KafkaClient] = {}
        """One for each, so that hanging up on a broker that hangs cuts off no other."""
        self._busy: set[Road] = set()
        """Roads that a wave is on."""
        self._silent: set[int] = set()
        """Brokers that gave no answer when they were last sent something."""
        self._is_asking = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._closed = False

    async def close(self) -> None:
        """Give up what is waiting: its callers get RetryLater."""
        self._closed = True
        if self._departure is not None:
            self._departure.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes.values():
            lane.give_up(RetryLater("the event log was closed"))
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    async def append(self, records: Sequence[Record], partition: int | None) -> None:
        """Returns when all records are durable. Raises RetryLater when that takes too long, or at once when too much
        waits; InvalidEvent, with nothing appended, when one is too large."""
        if self._closed:
            raise RetryLater("the event log is closed")
        call = Call(self._loop.create_future(), self._waiting)
        _fill(call, self._topic, records, partition)
        if not call.pieces:
            return
        if self._waiting.bytes > MAX_WAITING_BYTES:
            raise RetryLater("the event log has too much to store already")
        self._enqueue(call)
        self._calls_since += 1
        self._records_since += len(records)
        try:
            await self._deadline.wait(call.outcome)
        finally:
            call.let_go()

    def _enqueue(self, call: Call) -> None:
        for piece in call.pieces.values():
            lane = self._lanes.get(piece.partition)
            if lane is None:
                lane = self._lanes[piece.partition] = Lane(Place(self._topic, piece.partition))
            lane.add(piece)
            if lane.road not in self._busy:  # else it goes with the wave after the one that is on its way
                self._depart_soon()

    # --- waves ---

    def _depart_soon(self) -> None:
        if self._departure is None and not self._closed:
            self._departure = self._loop.call_later(self._tempo.rest_seconds(), self._depart)

    def _depart(self) -> None:
        """Send a wave by each road that is free and for which something waits."""
        self._departure = None
        waves: defaultdict[Road, list[tuple[Lane, Parcel]]] = defaultdict(list)
        for lane in self._lanes.values():
            if not lane.is_ready or lane.road in self._busy:
                continue
            if lane.road is None:
                self._ask_who_leads()
            elif (parcel := self._packed(lane)) is not None:
                waves[lane.road].append((lane, parcel))
        if waves:
            self._tempo.departed(self._calls_since, self._records_since)
            self._calls_since = self._records_since = 0
        for road, wave in waves.items():
            self._busy.add(road)
            self._begin(self._send(road, wave))

    def _packed(self, lane: Lane) -> Parcel | None:
        """One lane's trouble must not keep back what others have packed for the same wave, nor what waits behind it."""
        try:
            return lane.next_parcel()
        except Exception:
            logger.exception("not_packed", topic=lane.place.topic, partition=lane.place.partition)
            self._depart_soon()
            return None

    async def _send(self, road: Road, wave: Wave) -> None:
        """Until each parcel is durable, given up, or back in its lane to be sent again."""
        try:
            with append_seconds.time():
                answers = await self._answers(road, {lane.place: parcel.data for lane, parcel in wave})
            for lane, parcel in wave:
                self._told(lane, parcel, answers[lane.place])
        finally:
            self._busy.discard(road)
            self._depart_soon()

    async def _answers(self, road: Road, batches: Mapping[Place, bytes]) -> Mapping[Place, NotYet | RetryLater | None]:
        """See ``produce``; the same for all of them when the broker does not answer."""
        client = self._clients.get(road)
        if client is None:
            client = self._clients[road] = KafkaClient(self._arguments, self._name)
        try:
            answers = await client.ask(lambda asked: produce(asked, road.broker, batches))
        except Exception as exc:  # not only of the kinds that it should raise: nobody else would tell those who wait
            self._silent.add(road.broker)
            return dict.fromkeys(batches, NotYet(str(exc) or repr(exc)))
        self._silent.discard(road.broker)
        return answers

    def _told(self, lane: Lane, parcel: Parcel, why_not: NotYet | RetryLater | None) -> None:
        """What a broker said of a parcel. After a refusal somebody else may lead its partition, and it rests, alone:
        the broker's other partitions go on."""
        if why_not is None:
            lane.arrived()
            parcel.is_durable()
            appended.inc(parcel.records)
            return
        lane.road = None
        lane.rests = True
        self._loop.call_later(AGAIN_SECONDS, self._go_on, lane)
        if isinstance(why_not, NotYet) and monotonic() - parcel.packed_at < TRIED_SECONDS:
            lane.came_back(parcel)
        else:
            lane.arrived()
            parcel.fail(RetryLater(str(why_not)))
            logger.warning("append_failed", topic=lane.place.topic, partition=lane.place.partition, detail=str(why_not))

    def _go_on(self, lane: Lane) -> None:
        lane.rests = False
        self._depart_soon()

    # --- leaders ---

    def _ask_who_leads(self) -> None:
        if not self._is_asking:
            self._is_asking = True
            self._begin(self._find_leaders())

    async def _find_leaders(self) -> None:
        """For what waits. When they cannot be found in time it is given up; so no broker is asked that is silent, as
        the one may be whose partitions need another leader."""

        def lost() -> Sequence[Lane]:
            return [lane for lane in self._lanes.values() if lane.road is None]

        async def look(client: AIOKafkaClient) -> None:
            known = (await describe(client, [self._topic], self._silent)).topics.get(self._topic)
            for lane in lost():
                leader = known.leaders.get(lane.place.partition) if known else None
                lane.road = None if leader is None else Road(leader, lane.place.partition % self._roads)
            self._depart_soon()
            if still_lost := lost():
                raise NotYet(f"has nobody who leads {still_lost[0].place}")

        try:
            await self._asking.ask(look)
        except Exception as exc:
            for lane in lost():
                lane.give_up(RetryLater(str(exc)))
            logger.warning("append_failed", topic=self._topic, detail=str(exc))
        finally:
            self._is_asking = False
            self._depart_soon()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _fill(call: Call, topic: str, records: Sequence[Record], partition: int | None) -> None:
    """With the records, by their partitions. Raises InvalidEvent when one is too large."""
    for one in records:
        size = one.size + HEADER_OVERHEAD_BYTES * len(one.headers)
        if size > MAX_RECORD_BYTES:
            raise InvalidEvent("too_large", f"A record for {topic} has {size} bytes; at most {MAX_RECORD_BYTES}.")
        number = partition_of(one.key) if partition is None else partition
        piece = call.pieces.get(number)
        if piece is None:
            piece = call.pieces[number] = Piece(call, number)
        piece.records.append(one)
        piece.size += size + RECORD_OVERHEAD_BYTES
