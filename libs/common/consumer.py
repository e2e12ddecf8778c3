"""THE loop: reads batches from the event log and has their effects exactly once, in one transaction per batch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Any, Generic, TypeVar

from libs.common import dead_letters, outbox
from libs.common.claims import claim, prepare_claims
from libs.common.clock import Clock, WallClock, wall_now
from libs.common.db import AsyncConnection, Database, text
from libs.common.dead_letters import ONLY_GROUP, DeadLetter
from libs.common.errors import InvalidEvent, NotStarted, OwnershipLost, RetryLater
from libs.common.event_log import Batch, EventLog, ReadRecord, Subscription, TopicPartition
from libs.common.events import Event, decode
from libs.common.failpoints import failpoint
from libs.common.observability import REGISTRY, Counter, Histogram, get_logger
from libs.common.runtime import pause
from libs.common.topics import Topic

logger = get_logger(__name__)

BREAKER_LIMIT = 25
"""Records refused in a row, by handlers, after which the partition stops: a bad release must not drain a topic."""
BREAKER_PAUSE_SECONDS = 60.0
CAUGHT_UP_EVERY_SECONDS = 0.25
PROGRESS_SECONDS = 60.0

_records = Counter("kizashi_consumer_records_total", "Records by outcome", ["group", "outcome"], registry=REGISTRY)
_batches = Histogram("kizashi_consumer_batch_seconds", "Time of one batch", ["group"], registry=REGISTRY)
_lost = Counter("kizashi_consumer_ownership_lost_total", "Compare-and-set lost", ["group"], registry=REGISTRY)

E = TypeVar("E", bound=Event)
Handler = Callable[[AsyncConnection, list[E]], Awaitable[Sequence[Event]]]


@dataclass(frozen=True)
class Handling(Generic[E]):
    """Which function gets all new events of a type in a batch. It returns the events that follow; it never publishes."""

    event_type: type[E]
    handle: Handler[E]


def handles(event_type: type[E], handle: Handler[E]) -> Handling[E]:
    """Registering a handler for another type of event is a type error."""
    return Handling(event_type, handle)


class BreakerOpen(Exception):
    """Too many records in a row were refused; the partition waits for a person or a better release."""


@dataclass(frozen=True)
class _Decoded:
    record: ReadRecord
    event: Event


class Consumer:
    """One member of a service's consumer group. See docs/guarantees for what this promises.

    ``handlings`` are run in the given order, whatever the order in the batch. ``timekeeping`` topics get
    ``caught_up_to``: the domain time up to which everything accepted has been processed.
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
    ) -> None:
        self._group = group
        self._log = log
        self._database = database
        self._topics = tuple(topics)
        self._handlings = tuple(handlings)
        self._clock = clock or WallClock()
        self._timekeeping = timekeeping
        self._batch_size = batch_size
        self._failures: dict[TopicPartition, int] = {}
        self._stopped_partitions: dict[TopicPartition, str] = {}
        self._retries = 0
        self._earlier_mark: tuple[datetime, Mapping[TopicPartition, int]] | None = None
        self._ticked_at = monotonic()
        self._joined = False

    # --- probes ---

    async def live(self) -> str | None:
        """A liveness check: the loop turned within the last minute."""
        idle = monotonic() - self._ticked_at
        return f"the consumer has not turned for {idle:.0f} s" if idle > PROGRESS_SECONDS else None

    async def ready(self) -> str | None:
        """A readiness check: the loop has joined its group and no partition is stopped by the breaker."""
        if self._stopped_partitions:
            source, why = next(iter(self._stopped_partitions.items()))
            return f"{source.topic}/{source.partition} is stopped: {why}"
        return None if self._joined else "the consumer has not joined its group yet"

    # --- the loop ---

    async def run(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set; the batch in hand is finished first. A lost log or database is waited for.

        Raises PositionLost when records were lost, NotStarted when the log is not the one our positions belong to.
        """
        prepared_on = None
        while not stopping.is_set():
            self._ticked_at = monotonic()
            try:
                async with self._log.subscribe(self._group, self._topics, self._start_at) as subscription:
                    self._joined = True
                    next_mark = 0.0
                    while not stopping.is_set():
                        self._ticked_at = monotonic()
                        if prepared_on != (hour := wall_now().replace(minute=0, second=0, microsecond=0)):
                            await prepare_claims(self._database, wall_now().date())
                            await dead_letters.forget_old(self._database)
                            prepared_on = hour
                        batch = await subscription.next_batch(self._batch_size, CAUGHT_UP_EVERY_SECONDS)
                        if batch is not None:
                            await self._take(subscription, batch)
                        if self._timekeeping and monotonic() >= next_mark:
                            await self._note_caught_up(subscription)
                            next_mark = monotonic() + CAUGHT_UP_EVERY_SECONDS
            except RetryLater as exc:
                self._joined = False
                logger.warning("consumer_waits", group=self._group, detail=str(exc))
                await pause(stopping, 0.5)

    async def _start_at(self, source: TopicPartition) -> int:
        identity = await self._log.identity()
        async with self._database.transaction() as connection:
            place = {"topic": source.topic.value, "partition": source.partition}
            found = (
                await connection.execute(
                    text(
                        "SELECT next, log_identity FROM consumer_position "
                        "WHERE topic = :topic AND partition = :partition"
                    ),
                    place,
                )
            ).one_or_none()
            if found is None:
                earliest = (await self._log.starts([source.topic]))[source]
                await connection.execute(
                    text(
                        "INSERT INTO consumer_position (topic, partition, log_identity, next) "
                        "VALUES (:topic, :partition, :identity, :next) ON CONFLICT DO NOTHING"
                    ),
                    {**place, "identity": identity, "next": earliest},
                )
                return earliest
        if found.log_identity != identity:
            raise NotStarted(
                f"{self._group} has read {source.topic}/{source.partition} of the event log {found.log_identity}, but "
                f"this one is {identity}; connect the old log again or move the positions on purpose."
            )
        return int(found.next)

    async def _take(self, subscription: Subscription, batch: Batch) -> None:
        """Process one batch, or leave the subscription where it can be tried again."""
        try:
            with _batches.labels(self._group).time():
                await self._process(batch)
        except OwnershipLost:
            _lost.labels(self._group).inc()
            logger.warning(
                "ownership_lost", group=self._group, topic=batch.source.topic, partition=batch.source.partition
            )
            await subscription.drop(batch.source)
        except RetryLater as exc:
            self._retries += 1
            delay = min(0.1 * 2**self._retries, 5.0)
            logger.warning("batch_retries", group=self._group, delay_seconds=delay, detail=str(exc))
            subscription.rewind(batch.source, await self._start_at(batch.source), delay)
        except BreakerOpen as exc:
            logger.error("breaker_open", group=self._group, topic=batch.source.topic, partition=batch.source.partition)
            self._stopped_partitions[batch.source] = str(exc)
            subscription.rewind(batch.source, await self._start_at(batch.source), BREAKER_PAUSE_SECONDS)
        else:
            self._retries = 0
            self._stopped_partitions.pop(batch.source, None)
            await subscription.commit(batch.source, batch.end)

    async def _process(self, batch: Batch) -> None:
        """All effects of a batch in one transaction; when its data or a handler refuses, in ever smaller ones, until
        the record at fault is alone and becomes a dead letter."""
        try:
            await self._apply(batch)
        except (RetryLater, OwnershipLost, NotStarted):
            raise
        except Exception as exc:
            if len(batch.records) > 1:
                for half in _halves(batch):
                    await self._process(half)
                return
            await self._refuse(batch, exc)
        else:
            if batch.records:
                self._failures.pop(batch.source, None)

    async def _apply(self, batch: Batch) -> None:
        decoded, letters = self._decode(batch)
        failpoint("consumer.before_transaction")
        async with self._database.transaction({one.event.workspace for one in decoded}) as connection:
            await self._advance(connection, batch)
            fresh = await self._claim(connection, decoded)
            following: list[Event] = []
            for handling in self._handlings:
                events = [event for event in fresh if isinstance(event, handling.event_type)]
                if events:
                    following += await handling.handle(connection, events)
                    failpoint("consumer.inside_handler")
            await outbox.add(connection, following)
            await dead_letters.bury(connection, self._group, letters)
            failpoint("consumer.before_commit")
        failpoint("consumer.after_commit")
        _records.labels(self._group, "applied").inc(len(fresh))
        _records.labels(self._group, "duplicate").inc(len(decoded) - len(fresh))
        _records.labels(self._group, "dead_letter").inc(len(letters))

    def _decode(self, batch: Batch) -> tuple[list[_Decoded], list[DeadLetter]]:
        decoded, letters = [], []
        for record in batch.records:
            if record.headers.get(ONLY_GROUP, self._group.encode()) != self._group.encode():
                continue
            try:
                decoded.append(_Decoded(record, decode(record.value)))
            except InvalidEvent as exc:
                letters.append(DeadLetter(batch.source, record, _workspace_of(record), exc.reason, str(exc)))
        return decoded, letters

    async def _advance(self, connection: AsyncConnection, batch: Batch) -> None:
        moved = await connection.execute(
            text(
                "UPDATE consumer_position SET next = :end "
                "WHERE topic = :topic AND partition = :partition AND next = :start"
            ),
            {
                "topic": batch.source.topic.value,
                "partition": batch.source.partition,
                "start": batch.start,
                "end": batch.end,
            },
        )
        if moved.rowcount != 1:
            raise OwnershipLost(f"{batch.source} is not at {batch.start} any more")

    async def _claim(self, connection: AsyncConnection, decoded: Sequence[_Decoded]) -> list[Event]:
        """The events of the batch that nobody has taken yet, each once, in their order."""
        if not decoded:
            return []
        first: dict[bytes, Event] = {}
        for one in decoded:
            first.setdefault(one.event.claim(), one.event)
        won = await claim(connection, list(first), wall_now())
        return [event for number, event in first.items() if number in won]

    async def _refuse(self, batch: Batch, why: Exception) -> None:
        """Bury the one record of the batch, without its claim, so that it can come back."""
        failures = self._failures.get(batch.source, 0) + 1
        if failures > BREAKER_LIMIT:
            raise BreakerOpen(f"{BREAKER_LIMIT} records in a row were refused, the last because {why}") from why
        self._failures[batch.source] = failures
        reason = why.reason if isinstance(why, InvalidEvent) else type(why).__name__
        logger.error(
            "record_refused",
            group=self._group,
            topic=batch.source.topic,
            partition=batch.source.partition,
            offset=batch.records[0].offset,
            reason=reason,
            exc_info=why,
        )
        async with self._database.transaction() as connection:
            await self._advance(connection, batch)
            letter = DeadLetter(batch.source, batch.records[0], _workspace_of(batch.records[0]), reason, str(why))
            await dead_letters.bury(connection, self._group, [letter])
        _records.labels(self._group, "dead_letter").inc()

    async def _note_caught_up(self, subscription: Subscription) -> None:
        """Write ``caught_up_to`` where the position has passed what was durable at a moment.

        Under constant traffic the end moves on before we reach it, so the previous moment's end is asked too.
        """
        mark = (self._clock.now(), await self._log.ends(self._topics))
        marks = [self._earlier_mark, mark] if self._earlier_mark else [mark]
        self._earlier_mark = mark
        owned = sorted(subscription.owned)
        async with self._database.transaction() as connection:
            for moment, ends in marks:
                known = [source for source in owned if source in ends]
                await connection.execute(
                    text(
                        "UPDATE consumer_position p SET caught_up_to = :moment "
                        "FROM (SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), "
                        "CAST(:ends AS bigint[])) AS given (topic, partition, ends_at) ORDER BY 1, 2) AS e "
                        "WHERE p.topic = e.topic AND p.partition = e.partition AND p.next >= e.ends_at "
                        "AND (p.caught_up_to IS NULL OR p.caught_up_to < :moment)"
                    ),
                    {
                        "moment": moment,
                        "topics": [source.topic.value for source in known],
                        "partitions": [source.partition for source in known],
                        "ends": [ends[source] for source in known],
                    },
                )


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    middle = len(batch.records) // 2
    border = batch.records[middle].offset
    return (
        Batch(batch.source, batch.start, border, batch.records[:middle]),
        Batch(batch.source, border, batch.end, batch.records[middle:]),
    )


def _workspace_of(record: ReadRecord) -> int | None:
    """Every key begins with the number of its workspace; a record whose key does not belongs to none."""
    number, separator, _ = record.key.partition(b":")
    return int(number) if separator and number.isdigit() and len(number) < 18 else None
