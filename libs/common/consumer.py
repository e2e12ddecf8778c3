"""THE loop: reads batches from the event log and has their effects exactly once, in one transaction per batch."""

from __future__ import annotations

import asyncio
import math
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Generic, TypeVar

from libs.common import burial, outbox
from libs.common.caught_up import Marks
from libs.common.claims import claim, prepare_claims
from libs.common.clock import Clock, WallClock
from libs.common.db import AsyncConnection, Database
from libs.common.errors import InvalidEvent, NotStarted, OwnershipLost, PositionLost, RetryLater
from libs.common.event_log import Batch, EventLog, ReadRecord, Subscription, TopicPartition
from libs.common.events import Event
from libs.common.failpoints import failpoint
from libs.common.lag import LagWatch
from libs.common.observability import REGISTRY, Counter, Histogram, get_logger
from libs.common.positions import Positions
from libs.common.progress import Patience, Progress
from libs.common.received import BreakerOpen, Received, halves, letter_about, one_more_refused, open_batch
from libs.common.retries import Retries
from libs.common.runtime import beside, pause
from libs.common.stops import Stops, broken, lost
from libs.common.topics import Topic
from libs.common.yielding import Yielding

logger = get_logger(__name__)

CAUGHT_UP_EVERY_SECONDS = 0.25
KEEP_HOUSE_EVERY_SECONDS = 3600.0
KEEP_HOUSE_SOON_SECONDS = 5.0
BACKGROUND_BATCH_SIZE = 200
"""Of a topic that lets others go first, while they come: so long they wait at most."""

_records = Counter("kizashi_consumer_records_total", "Records by outcome", ["group", "outcome"], registry=REGISTRY)
_batches = Histogram("kizashi_consumer_batch_seconds", "Time of one batch", ["group"], registry=REGISTRY)
_retried = Counter("kizashi_consumer_retries_total", "Batches to be tried again", ["group"], registry=REGISTRY)
_ownership_lost = Counter("kizashi_consumer_ownership_lost_total", "Compare-and-set lost", ["group"], registry=REGISTRY)
_position_lost = Counter("kizashi_consumer_position_lost_total", "Positions found lost", ["group"], registry=REGISTRY)

E = TypeVar("E", bound=Event)
Handler = Callable[[AsyncConnection, list[E]], Awaitable[Sequence[Event]]]


@dataclass(frozen=True)
class Handling(Generic[E]):
    """Which function gets a batch's new events of a type. It returns the events that follow; it never publishes."""

    event_type: type[E]
    handle: Handler[E]


def handles(event_type: type[E], handle: Handler[E]) -> Handling[E]:
    """Registering a handler for another type of event is a type error."""
    return Handling(event_type, handle)


class Consumer:
    """One member of a service's consumer group. See docs/guarantees for what this promises.

    ``handlings`` are run in the given order, whatever the order in the batch. With ``timekeeping`` the positions get
    ``caught_up_to``: the domain time up to which everything accepted has been processed. The topic ``background``
    lets the others go first: while anything comes of them it is read in small batches, and rests in between.
    """

    def __init__(
        self,
        *,
        group: str,
        log: EventLog,
        database: Database,
        topics: Sequence[Topic],
        handlings: Sequence[Handling[Any]],
        clock: Clock | None = None,
        timekeeping: bool = False,
        batch_size: int = 500,
        background: Topic | None = None,
        patience: Patience = Patience(),
    ) -> None:
        self.group = group
        self.topics = tuple(topics)
        self._log = log
        self._database = database
        self._handlings = tuple(handlings)
        self._clock = clock or WallClock()
        self._timekeeping = timekeeping
        self._batch_size = self._largest_batch = batch_size
        self._background = background
        self._yielding = Yielding()
        self._patience = patience
        self._positions = Positions(group, database, log)
        self._marks = Marks()
        self._stops = Stops(group, self.topics)
        self._progress = Progress(patience)
        self._lag_watch = LagWatch(
            group=group,
            log=log,
            database=database,
            topics=self.topics,
            positions=lambda: self._positions.of(self._owned),
            stops=self._stops,
            progress=self._progress,
            patience=patience,
            resting=lambda: None if self._yielding.is_alone else self._background,
        )
        self._owned: frozenset[TopicPartition] = frozenset()
        self._retries = Retries(patience.retrying_seconds)
        self._lost_told: dict[TopicPartition, int] = {}
        self._keep_house_at = self._keep_time_at = self._refresh_at = 0.0
        self._away: str | None = "the consumer has not joined its group yet"

    # --- probes ---

    async def live(self) -> str | None:
        """A liveness check: the loop turns, and what a restart may mend is not stuck (see ``Patience``)."""
        return self._progress.not_live()

    async def ready(self) -> str | None:
        """A readiness check: the loop has joined its group, the log answers, and no partition is stopped or stuck."""
        return self._away or self._stops.sentence() or self._retries.sentence() or self._progress.not_ready()

    # --- the loop ---

    async def run(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set; the batch in hand is finished first. A lost log or database is waited for.

        Raises NotStarted when the log is not the one our positions belong to.
        """
        async with beside(self._lag_watch.run(stopping), name=f"lag of {self.group}"):
            while not stopping.is_set():
                self._progress.turned()
                try:
                    async with self._log.subscribe(self.group, self.topics, self._start_at) as subscription:
                        self._away = None
                        while not stopping.is_set():
                            await self._turn(subscription)
                except RetryLater as exc:
                    logger.warning("consumer_waits", group=self.group, detail=str(exc))
                    self._away = f"the consumer is not in its group: {exc}"
                    self._retries.keep(())  # somebody else may process those batches before we are back
                    await pause(stopping, 0.5)

    async def _turn(self, subscription: Subscription) -> None:
        self._progress.turned()
        if monotonic() >= self._keep_house_at:
            await self._keep_house()
        if monotonic() >= self._refresh_at:
            await self._refresh(subscription)
        try:
            batch = await self._next_batch(subscription)
        except PositionLost as exc:
            await self._note_lost(subscription, exc)
        else:
            if batch is None:
                self._progress.idle()
            else:
                await self._take(subscription, batch)
        if self._timekeeping and monotonic() >= self._keep_time_at:
            await self._keep_time(subscription)
        self._owned = subscription.owned
        self._stops.keep(self._owned)
        self._retries.keep(self._owned)

    async def _next_batch(self, subscription: Subscription) -> Batch | None:
        if self._background is None or self._yielding.is_alone:
            return await subscription.next_batch(self._batch_size, CAUGHT_UP_EVERY_SECONDS)
        rest = self._yielding.rests_for_seconds()
        most_of = {self._background: 0 if rest else BACKGROUND_BATCH_SIZE}
        return await subscription.next_batch(self._batch_size, min(rest or math.inf, CAUGHT_UP_EVERY_SECONDS), most_of)

    def _note_work(self, topic: Topic, seconds: float) -> None:
        if topic is self._background:
            self._yielding.worked(seconds)
        else:
            self._yielding.others_worked()

    async def _take(self, subscription: Subscription, batch: Batch) -> None:
        """Process one batch, or leave the subscription where it can be tried again."""
        source = batch.source
        self._progress.delivered(source)
        if self._positions.lost(source):
            # The log holds that position again, or another record in its place: that is not ours to decide.
            subscription.rewind(source, batch.start, self._patience.breaker_pause_seconds)
            return
        began = monotonic()
        try:
            with _batches.labels(self.group).time():
                await self._process(batch)
        except OwnershipLost:
            _ownership_lost.labels(self.group).inc()
            logger.warning("ownership_lost", group=self.group, topic=source.topic, partition=source.partition)
            await subscription.drop(source)
        except RetryLater as exc:
            seconds = self._retries.again(source)
            _retried.labels(self.group).inc()
            logger.warning("batch_retries", group=self.group, seconds=seconds, detail=str(exc))
            subscription.rewind(source, self._positions.known(source), seconds)
            self._batch_size = max(1, self._batch_size // 2)  # it may have been too much for a deadline, or for memory
            self._keep_house_at = 0.0  # or there was no table for today's claims
        except BreakerOpen as exc:
            logger.error("breaker_open", group=self.group, topic=source.topic, partition=source.partition)
            self._stops.add(source, broken(self.group, source, str(exc)))
            subscription.rewind(source, self._positions.known(source), self._patience.breaker_pause_seconds)
        else:
            self._retries.succeeded(source)
            self._stops.remove(source)
            # Step by step: doubled, a machine that is too slow for the largest would fail at every other batch.
            self._batch_size = min(self._batch_size + max(1, self._largest_batch // 20), self._largest_batch)
            await subscription.commit(source, batch.end)
        finally:
            self._note_work(source.topic, monotonic() - began)

    # --- lost positions, and positions that an operator moved ---

    async def _start_at(self, source: TopicPartition) -> int:
        position = await self._positions.find(source)
        if why := self._positions.lost(source):
            self._stops.add(source, lost(self.group, source, why))
        return position

    async def _note_lost(self, subscription: Subscription, exc: PositionLost) -> None:
        """The subscription holds the partition from now on; other partitions go on."""
        source, position = exc.source, self._positions.known(exc.source)
        if self._lost_told.get(source) != position:
            self._lost_told[source] = position
            _position_lost.labels(self.group).inc()
            logger.critical("records_lost", group=self.group, detail=str(exc))
        await self._positions.note_lost(source, str(exc))
        self._go_on_or_stop(subscription, source)

    async def _refresh(self, subscription: Subscription) -> None:
        """An operator may have moved a position, or allowed a stopped partition more."""
        self._refresh_at = monotonic() + self._patience.look_seconds
        try:
            for source in await self._positions.refresh(subscription.owned):
                self._go_on_or_stop(subscription, source)
        except RetryLater as exc:
            logger.warning("positions_not_looked_at", group=self.group, detail=str(exc))

    def _go_on_or_stop(self, subscription: Subscription, source: TopicPartition) -> None:
        """As its row says, which is not as we left it."""
        if why := self._positions.lost(source):
            self._stops.add(source, lost(self.group, source, why))
        else:
            self._stops.remove(source)
            subscription.rewind(source, self._positions.known(source), 0.0)

    # --- one batch ---

    async def _process(self, batch: Batch, again: bool = False) -> None:
        """All effects of a batch in one transaction; when its data or a handler refuses, in ever smaller ones, until
        the record at fault is alone and becomes a dead letter."""
        self._progress.turned()
        try:
            await self._apply(batch)
        except (RetryLater, OwnershipLost, NotStarted):
            raise
        except Exception as exc:
            if len(batch.records) > 1:
                for half in halves(batch):
                    await self._process(half)
            elif not batch.records or isinstance(exc, BreakerOpen):
                raise
            elif again or isinstance(exc, InvalidEvent):
                await self._refuse(batch, batch.records[0], exc)
            else:
                await self._process(batch, again=True)  # it may have lost a race with another transaction

    async def _apply(self, batch: Batch) -> None:
        opened = open_batch(batch, self.group, self._positions.refused_in_a_row(batch.source))
        failpoint("consumer.before_transaction")
        async with self._database.transaction({one.event.workspace for one in opened.received}) as connection:
            now = await self._advance(connection, batch, opened.refused_in_a_row)
            fresh = await self._claim(connection, await self._let_in(connection, opened.received), now)
            following: list[Event] = []
            for handling in self._handlings:
                events = [event for event in fresh if isinstance(event, handling.event_type)]
                if events:
                    following += await handling.handle(connection, events)
                    failpoint("consumer.inside_handler")
            await outbox.add(connection, following)
            await burial.bury(connection, self.group, self._positions.identity(batch.source.topic), opened.letters)
            failpoint("consumer.before_commit")
        failpoint("consumer.after_commit")
        self._positions.advanced(batch, opened.refused_in_a_row)
        self._progress.moved()
        burial.count(self.group, opened.letters)
        _records.labels(self.group, "applied").inc(len(fresh))
        _records.labels(self.group, "duplicate").inc(len(opened.received) - len(fresh))
        _records.labels(self.group, "dead_letter").inc(len(opened.letters))

    async def _advance(self, connection: AsyncConnection, batch: Batch, refused_in_a_row: int) -> datetime:
        return await self._positions.advance(connection, batch, refused_in_a_row)

    async def _let_in(self, connection: AsyncConnection, received: Sequence[Received]) -> Sequence[Received]:
        """All but replays whose letter is settled or gone."""
        replayed = {one.replay_of for one in received if one.replay_of}
        if not replayed:
            return received
        still_open = await burial.settle(connection, replayed)
        return [one for one in received if one.replay_of is None or one.replay_of in still_open]

    async def _claim(self, connection: AsyncConnection, received: Sequence[Received], now: datetime) -> list[Event]:
        """The events that nobody has taken yet, each once, in their order."""
        first: dict[bytes, Event] = {}
        for one in received:
            first.setdefault(one.event.claim(), one.event)
        won = await claim(connection, list(first), now)
        return [event for number, event in first.items() if number in won]

    async def _refuse(self, batch: Batch, record: ReadRecord, why: Exception) -> None:
        """Bury the one record of the batch, without its claim, so that it can come back."""
        refused_in_a_row = one_more_refused(self._positions.refused_in_a_row(batch.source), why)
        letter = letter_about(batch.source, record, why)
        logger.error(
            "record_refused",
            group=self.group,
            topic=batch.source.topic,
            partition=batch.source.partition,
            offset=record.offset,
            reason=letter.reason,
            frames=traceback.format_tb(why.__traceback__)[-3:],  # not the message, which may hold a customer's data
        )
        async with self._database.transaction() as connection:
            await self._advance(connection, batch, refused_in_a_row)
            await burial.bury(connection, self.group, self._positions.identity(batch.source.topic), [letter])
        self._positions.advanced(batch, refused_in_a_row)
        self._progress.moved()
        burial.count(self.group, [letter])
        _records.labels(self.group, "dead_letter").inc()

    # --- besides ---

    async def _keep_house(self) -> None:
        soon = True
        try:
            await prepare_claims(self._database)
            soon = await burial.forget_old(self._database)
        except RetryLater as exc:
            logger.warning("housekeeping_waits", group=self.group, detail=str(exc))
        self._keep_house_at = monotonic() + (KEEP_HOUSE_SOON_SECONDS if soon else KEEP_HOUSE_EVERY_SECONDS)

    async def _keep_time(self, subscription: Subscription) -> None:
        self._keep_time_at = monotonic() + CAUGHT_UP_EVERY_SECONDS
        now = self._clock.now()  # before the log is asked: what was accepted by now lies before its end
        try:
            ends = await self._log.ends(self.topics)
            self._marks.add(now, ends)
            positions = self._positions.of(subscription.owned)
            # A position beyond the end has passed nothing: it is lost, whether that was noticed yet or not.
            moments = self._marks.passed({source: at for source, at in positions.items() if at <= ends[source]})
            await self._positions.note_caught_up(moments)
        except RetryLater as exc:
            logger.warning("time_waits", group=self.group, detail=str(exc))
