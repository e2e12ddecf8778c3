"""How far a consumer group is behind the event log, in records and in seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from libs.common.clock import wall_now
from libs.common.db import Database
from libs.common.errors import RetryLater
from libs.common.event_log import EventLog, Places, TopicPartition
from libs.common.observability import REGISTRY, Gauge, get_logger
from libs.common.progress import Patience, Progress
from libs.common.runtime import pause
from libs.common.stops import Stops
from libs.common.topics import Topic

logger = get_logger(__name__)

_records = Gauge(
    "kizashi_consumer_lag_records",
    "Records that wait in this process's partitions; their sum over processes is the group's",
    ["group", "topic"],
    registry=REGISTRY,
)
_seconds = Gauge(
    "kizashi_consumer_lag_seconds",
    "For how long the oldest record has waited in this process's partitions; their highest is the group's",
    ["group", "topic"],
    registry=REGISTRY,
)
_poll_age = Gauge(
    "kizashi_consumer_last_poll_age_seconds",
    "For how long the event log has left a look at it unanswered",
    ["group"],
    registry=REGISTRY,
)


@dataclass(frozen=True)
class Lag:
    """``records`` counts positions: on Kafka some of them may be holes. ``since``: when the first that can be read was
    appended, None when there is none."""

    records: int
    since: datetime | None

    def seconds(self, now: datetime) -> float:
        """``now`` is wall time, and the log's clock may be a little ahead of ours."""
        return 0.0 if self.since is None else max((now - self.since).total_seconds(), 0.0)


async def lags(
    log: Places, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> Mapping[TopicPartition, Lag]:
    """``ends`` were read after ``positions``. Raises RetryLater."""
    behind = {source: max(ends[source] - position, 0) for source, position in positions.items()}
    since = await log.appended_at({source: positions[source] for source, records in behind.items() if records})
    return {source: Lag(records, since.get(source)) for source, records in behind.items()}


class LagWatch:
    """One process's look at its partitions, beside the loop and whatever that does: lag must show when nothing is
    processed. ``positions`` gives those of the partitions that are ours at this moment."""

    def __init__(
        self,
        *,
        group: str,
        log: EventLog,
        database: Database,
        topics: Sequence[Topic],
        positions: Callable[[], Mapping[TopicPartition, int]],
        stops: Stops,
        progress: Progress,
        patience: Patience,
        resting: Callable[[], Topic | None] = lambda: None,
    ) -> None:
        """``resting`` is the topic that lets others go first just now: what waits there is not stuck."""
        self._group = group
        self._log = log
        self._database = database
        self._topics = topics
        self._positions = positions
        self._stops = stops
        self._progress = progress
        self._patience = patience
        self._resting = resting
        self._last: Mapping[TopicPartition, Lag] = {}
        _poll_age.labels(group).set_function(lambda: progress.silent_seconds)

    async def run(self, stopping: asyncio.Event) -> None:
        """Until ``stopping`` is set."""
        while not stopping.is_set():
            answered = await self.look()
            await pause(stopping, self._patience.look_seconds if answered else self._patience.look_again_seconds)

    async def look(self) -> bool:
        """False when the log does not answer; lag in seconds goes on growing meanwhile."""
        positions = self._positions()
        self._progress.asks()
        try:
            self._last = await lags(self._log, positions, await self._log.ends(self._topics))
        except RetryLater as exc:
            logger.warning("log_does_not_answer", group=self._group, detail=str(exc))
            self._progress.excused()
            self._publish()
            return False
        # What an open transaction of another producer hides is not to be read yet, and nobody's fault.
        resting = self._resting()
        behind = {
            source: lag.records if lag.since and source.topic is not resting else 0
            for source, lag in self._last.items()
        }
        self._progress.answered(behind, self._stops.sources)
        self._publish()
        if self._progress.records_wait:
            await self._ask_database()
        return True

    async def _ask_database(self) -> None:
        try:
            await self._database.ping()
        except RetryLater:
            self._progress.excused()

    def _publish(self) -> None:
        now = wall_now()
        for topic in self._topics:
            ours = [lag for source, lag in self._last.items() if source.topic == topic]
            _records.labels(self._group, topic).set(sum(lag.records for lag in ours))
            _seconds.labels(self._group, topic).set(max((lag.seconds(now) for lag in ours), default=0.0))
