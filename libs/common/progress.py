"""Whether a consumer makes progress, judged by what its loop does and by what a look at the log finds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from libs.common.event_log import TopicPartition


@dataclass(frozen=True)
class Patience:
    """After how many seconds a consumer does or says what."""

    look_seconds: float = 5.0
    """Between two looks at the log's ends, and at positions that an operator may have moved."""
    look_again_seconds: float = 1.0
    """Between two looks while the log does not answer."""
    breaker_pause_seconds: float = 60.0
    """Before a partition that is stopped is tried again."""
    retrying_seconds: float = 15.0
    """A partition that tries the same batch for so long makes the process unready."""
    log_silent_seconds: float = 3.0
    """A look that the log does not answer for so long makes the process unready."""
    turned_seconds: float = 60.0
    """A loop that does not turn for so long is not live, at any age."""
    unpolled_seconds: float = 60.0
    """A partition in which records wait, and of which the log hands out nothing for so long, is stuck."""
    no_progress_seconds: float = 120.0
    """Records wait, log and database answer, and no position moves for so long: stuck."""
    spared_seconds: float = 600.0
    """A process younger than this is never ended for being stuck, only unready: a restart that does not help is
    repeated once in so many seconds at most."""


class _Moment(NamedTuple):
    """``deliveries``: how many batches had been handed out by then."""

    at: float
    deliveries: int


class Progress:
    """What ends the process is only what a restart may mend. A log or a database that does not answer, and a partition
    that is stopped, are the business of readiness alone. ``now`` is a monotonic clock."""

    def __init__(self, patience: Patience, now: Callable[[], float] = monotonic) -> None:
        self._patience = patience
        self._now = now
        self._born_at = self._turned_at = self._moved_at = self._excused_at = now()
        self._idle_at = 0.0
        self._unanswered_since: float | None = None
        self._waiting_since: dict[TopicPartition, _Moment] = {}
        self._delivered: dict[TopicPartition, _Moment] = {}
        self._deliveries = 0
        self._owned = 0

    # --- told by the loop ---

    def turned(self) -> None:
        self._turned_at = self._now()

    def idle(self) -> None:
        """The log had nothing to hand out."""
        self._idle_at = self._now()

    def delivered(self, source: TopicPartition) -> None:
        self._deliveries += 1
        self._delivered[source] = _Moment(self._now(), self._deliveries)

    def moved(self) -> None:
        """A position of ours moved on."""
        self._moved_at = self._now()

    # --- told by the look ---

    def asks(self) -> None:
        """The log is asked; unless it answers, this is when it fell silent."""
        if self._unanswered_since is None:
            self._unanswered_since = self._now()

    def answered(self, behind: Mapping[TopicPartition, int], stopped: Collection[TopicPartition]) -> None:
        """How many records wait in each partition of ours."""
        now = _Moment(self._now(), self._deliveries)
        self._unanswered_since = None
        self._owned = len(behind)
        waiting = {source for source, records in behind.items() if records and source not in stopped}
        self._waiting_since = {source: self._waiting_since.get(source, now) for source in waiting}

    def excused(self) -> None:
        """The log or the database does not answer: nobody can make progress."""
        self._excused_at = self._now()

    @property
    def records_wait(self) -> bool:
        """In partitions that are not stopped."""
        return bool(self._waiting_since)

    @property
    def silent_seconds(self) -> float:
        """How long the log has not answered."""
        return 0.0 if self._unanswered_since is None else self._now() - self._unanswered_since

    # --- asked by the probes ---

    def not_live(self) -> str | None:
        idle = self._now() - self._turned_at
        if idle > self._patience.turned_seconds:
            return f"the consumer has not turned for {idle:.0f} s"
        return None if self._is_young else self._stuck()

    def not_ready(self) -> str | None:
        """Beside what ``not_live`` says."""
        if (silent := self.silent_seconds) > self._patience.log_silent_seconds:
            return f"the event log has not answered for {silent:.0f} s"
        return self._stuck() if self._is_young else None

    @property
    def _is_young(self) -> bool:
        return self._now() - self._born_at <= self._patience.spared_seconds

    def _stuck(self) -> str | None:
        if not self._waiting_since:
            return None
        for source in sorted(self._waiting_since):
            if (seconds := self._unpolled_seconds(source)) > self._patience.unpolled_seconds:
                place = f"{source.topic}/{source.partition}"
                return f"records wait in {place}, and the event log has handed out none for {seconds:.0f} s"
        first = min(self._waiting_since.values())
        seconds = self._now() - max(first.at, self._moved_at, self._excused_at)
        if seconds > self._patience.no_progress_seconds:
            return f"records wait, and no position has moved for {seconds:.0f} s"
        return None

    def _unpolled_seconds(self, source: TopicPartition) -> float:
        """How long the log has handed out nothing of a partition; 0 while it may just wait for its turn."""
        since = max(self._waiting_since[source], self._delivered.get(source, _Moment(0.0, 0)))
        begin = max(since.at, self._excused_at)
        had_its_turn = (
            self._idle_at > begin + self._patience.unpolled_seconds
            or self._deliveries - since.deliveries > 2 * self._owned
        )
        return self._now() - begin if had_its_turn else 0.0
