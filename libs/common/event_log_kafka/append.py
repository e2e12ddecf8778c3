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
"""Of a topic to each broker, which stores what comes by one of them partition after partition, forcing each to disk
where that is asked of it."""
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
    """Takes records from many tasks. One wave at a time is on its way by each road to a broker, with one batch for each
    partition of that road for which something waits.

    Not idempotent on purpose: what is written twice by a retry is recognised by its event id.
    """

    def __init__(self, arguments: Mapping[str, Any], name: str, asking: KafkaClient, append_seconds: float) -> None:
        """``asking`` is for questions about who leads which partition."""
        self._arguments = arguments
        self._name = name
        self._asking = asking
        self._deadline = Deadline(append_seconds)
        self._lanes: dict[tuple[str, int], Lane] = {}
        """By topic and partition."""
        self._waiting = Waiting()
        self._departure: asyncio.TimerHandle | None = None
        self._tempo = Tempo()
        self._calls_since = 0
        """The last departure."""
        self._clients: dict[Road, KafkaClient] = {}
        """One for each, so that hanging up on a broker that hangs cuts off no other."""
        self._busy: set[Road] = set()
        """Roads that a wave is on."""
        self._silent: set[int] = set()
        """Brokers that gave no answer when they were last sent something."""
        self._asked_about: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def start(self) -> None:
        """To be called in the loop that will append."""
        self._loop = asyncio.get_running_loop()

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

    async def append(self, topic: str, records: Sequence[Record], partition: int | None) -> None:
        """Returns when all records are durable. Raises RetryLater when that takes too long, or at once when too much
        waits; InvalidEvent, with nothing appended, when one is too large."""
        if self._closed or self._loop is None:
            raise RetryLater("the event log is closed")
        call = Call(self._loop.create_future(), self._waiting)
        _fill(call, topic, records, partition)
        if not call.pieces:
            return
        if self._waiting.bytes > MAX_WAITING_BYTES:
            raise RetryLater("the event log has too much to store already")
        self._enqueue(topic, call)
        try:
            await self._deadline.wait(call.durable)
        except TimeoutError as exc:
            raise RetryLater("the event log did not take the records in time") from exc
        finally:
            call.let_go()

    def _enqueue(self, topic: str, call: Call) -> None:
        self._calls_since += 1
        for piece in call.pieces.values():
            lane = self._lanes.get((topic, piece.partition))
            if lane is None:
                lane = self._lanes[topic, piece.partition] = Lane(Place(topic, piece.partition))
            lane.add(piece)
            if lane.road not in self._busy:  # else it goes with the wave after the one that is on its way
                self._depart_soon()

    # --- waves ---

    def _depart_soon(self) -> None:
        if self._departure is None and not self._closed:
            self._departure = asyncio.get_running_loop().call_later(self._tempo.rest_seconds(), self._depart)

    def _depart(self) -> None:
        """Send a wave by each road that is free and for which something waits."""
        self._departure = None
        waves: defaultdict[Road, list[tuple[Lane, Parcel]]] = defaultdict(list)
        for lane in self._lanes.values():
            if not lane.is_ready or lane.road in self._busy:
                continue
            if lane.road is None:
                self._ask_who_leads(lane.place.topic)
            elif (parcel := self._packed(lane)) is not None:
                waves[lane.road].append((lane, parcel))
        if waves:
            self._tempo.departed(self._calls_since)
            self._calls_since = 0
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
        except asyncio.CancelledError:
            for lane, parcel in wave:
                lane.arrived()
                parcel.fail(RetryLater("the event log was closed"))
            raise
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
        asyncio.get_running_loop().call_later(AGAIN_SECONDS, self._go_on, lane)
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

    def _ask_who_leads(self, topic: str) -> None:
        if topic not in self._asked_about:
            self._asked_about.add(topic)
            self._begin(self._find_leaders(topic))

    async def _find_leaders(self, topic: str) -> None:
        """For what waits. When they cannot be found in time it is given up; so no broker is asked that is silent, as
        the one may be whose partitions need another leader."""

        def lost() -> Sequence[Lane]:
            return [lane for lane in self._lanes.values() if lane.place.topic == topic and lane.road is None]

        async def look(client: AIOKafkaClient) -> None:
            known = (await describe(client, [topic], self._silent)).topics.get(topic)
            for lane in lost():
                leader = known.leaders.get(lane.place.partition) if known else None
                lane.road = None if leader is None else Road(leader, topic, lane.place.partition % ROADS)
            self._depart_soon()
            if still_lost := lost():
                raise NotYet(f"has nobody who leads {still_lost[0].place}")

        try:
            await self._asking.ask(look)
        except Exception as exc:
            for lane in lost():
                lane.give_up(RetryLater(str(exc)))
            logger.warning("append_failed", topic=topic, detail=str(exc))
        finally:
            self._asked_about.discard(topic)
            self._depart_soon()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
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
