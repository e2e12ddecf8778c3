"""Writes what was decided to the event log, and knows whether the log answers."""

from __future__ import annotations

import asyncio
import math
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from time import monotonic

from libs.common.errors import RetryLater
from libs.common.event_log import EventLog, Record
from libs.common.events import TelemetryReceived, encode
from libs.common.failpoints import failpoint
from libs.common.observability import REGISTRY, Counter, get_logger
from libs.common.runtime import pause
from libs.common.topics import Topic
from services.ingest.domain.acceptance import Arrival, Outcome, Reject
from services.ingest.domain.originals import without_write_key
from services.ingest.pace import UNPACED, Pace
from services.ingest.pressure import NotNow

logger = get_logger(__name__)

ASK_AGAIN_SECONDS = 1.0
"""Between two questions to a log of which nothing else is heard."""
PACED_PART = 0.4
"""Of the deadline of a request of history that it may wait in line; the rest is for the log."""
LETTER_BYTES = 512 * 1024
"""Of the original bytes in a dead letter; of a larger event the beginning is kept."""
TOO_MANY = "too_many_events"

_events = Counter("kizashi_ingest_events_total", "Events decided about", ["outcome", "lane"], registry=REGISTRY)
_rejected = Counter("kizashi_ingest_rejected_total", "Events rejected", ["code"], registry=REGISTRY)
_rules = Counter(
    "kizashi_ingest_account_rules_total", "Events by what named their account", ["rule"], registry=REGISTRY
)
_flags = Counter("kizashi_ingest_time_flags_total", "Events whose time was mended", ["flag"], registry=REGISTRY)
_failures = Counter("kizashi_ingest_append_failures_total", "Appends without acknowledgement", registry=REGISTRY)


class Publisher:
    """Events to their lane, rejected ones to its dead letters; both are durable when ``publish`` returns."""

    def __init__(self, log: EventLog, deadline_seconds: float, silent_seconds: float) -> None:
        """``deadline_seconds`` for all appends of a request of history; a single one has the log's own. A log that is
        silent for ``silent_seconds`` makes us not ready."""
        self._log = log
        self._deadline_seconds = deadline_seconds
        self._silent_seconds = silent_seconds
        self._heard_at: float | None = None
        self._failed_at = -math.inf
        self._failing_since: float | None = None

    async def publish(self, outcome: Outcome, arrival: Arrival, pace: Pace = UNPACED) -> None:
        """``pace`` is for history. Raises NotNow when the log does not acknowledge in time; then nobody knows what it
        holds, so all of it is sent again and readers recognise what they have."""
        if not (outcome.accepted or outcome.rejected):
            return
        try:
            if arrival.historical:
                async with asyncio.timeout(self._deadline_seconds):
                    await self._append_little_by_little(outcome, arrival, pace)
            else:
                await self._append_at_once(outcome, arrival)
        except (RetryLater, TimeoutError) as exc:
            self._note_failure()
            logger.warning("append_failed", detail=str(exc) or "deadline")
            raise NotNow("log_unavailable", "The event log does not answer; send this again.", 5) from exc
        failpoint("ingest.appended")
        self._note_acknowledgement()
        _count(outcome, "import" if arrival.historical else "live")

    async def _append_at_once(self, outcome: Outcome, arrival: Arrival) -> None:
        if not outcome.rejected:  # nearly always; gathering would make a task of it
            await self._log.append(Topic.TELEMETRY, _records(outcome.accepted))
            return
        appends = [(Topic.TELEMETRY_DLQ, _all_letters(outcome, arrival))]
        if outcome.accepted:
            appends.append((Topic.TELEMETRY, _records(outcome.accepted)))
        await asyncio.gather(*(self._log.append(topic, records) for topic, records in appends))

    async def _append_little_by_little(self, outcome: Outcome, arrival: Arrival, pace: Pace) -> None:
        async def append(some: Sequence[TelemetryReceived]) -> None:
            await self._log.append(Topic.TELEMETRY_IMPORT, _records(some))

        await pace.send(outcome.accepted, self._deadline_seconds * PACED_PART, append)
        if outcome.rejected:
            await self._log.append(Topic.TELEMETRY_IMPORT_DLQ, _all_letters(outcome, arrival))

    async def ready(self) -> str | None:
        """A readiness check: the log answered lately, and does not only answer while all appends fail."""
        now = monotonic()
        if self._heard_at is None:
            return "the event log has not answered yet"
        if (silent := now - self._heard_at) > self._silent_seconds:
            return f"the event log has not answered for {silent:.0f} s"
        if self._failing_since is not None and self._failed_at > self._heard_at:
            failing = now - self._failing_since
            if failing > self._silent_seconds:
                return f"the event log has not acknowledged an append for {failing:.0f} s"
        return None

    async def watch(self, stopping: asyncio.Event) -> None:
        """Ask the log whether it is there when it acknowledges nothing: a process that gets no requests, as one that is
        not ready does, could else not find out."""
        while not stopping.is_set():
            if self._heard_at is None or monotonic() - self._heard_at >= ASK_AGAIN_SECONDS:
                try:
                    await self._log.ends([Topic.TELEMETRY])
                    self._heard_at = monotonic()
                except RetryLater as exc:
                    logger.warning("log_does_not_answer", detail=str(exc))
            await pause(stopping, ASK_AGAIN_SECONDS)

    def _note_acknowledgement(self) -> None:
        self._heard_at = monotonic()
        self._failing_since = None

    def _note_failure(self) -> None:
        _failures.inc()
        self._failed_at = monotonic()
        if self._failing_since is None:
            self._failing_since = self._failed_at


def _records(events: Sequence[TelemetryReceived]) -> list[Record]:
    return [Record(event.key, encode(event)) for event in events]


def _all_letters(outcome: Outcome, arrival: Arrival) -> list[Record]:
    return [*_letters(outcome.rejects, arrival), *_surplus(outcome, arrival)]


def _letters(rejects: Sequence[Reject], arrival: Arrival) -> list[Record]:
    return [
        _letter(arrival, reject.original, reject.code, reject.message, reject.message_id or "") for reject in rejects
    ]


def _surplus(outcome: Outcome, arrival: Arrival) -> list[Record]:
    """What lies beyond the limit, many to a letter: there may be hundreds of thousands."""
    letters: list[Record] = []
    gathered = bytearray()  # not a list of them, which takes many times as much
    count = 0
    for event in outcome.surplus:
        if gathered and len(gathered) + len(event) > LETTER_BYTES:
            letters.append(_surplus_letter(arrival, gathered, count))
            gathered, count = bytearray(), 0
        gathered += b"," if gathered else b"["
        gathered += memoryview(event)
        count += 1
    return [*letters, _surplus_letter(arrival, gathered, count)] if gathered else letters


def _surplus_letter(arrival: Arrival, events: bytearray, count: int) -> Record:
    message = f"{count} events beyond those that one batch may have, as a JSON array."
    return _letter(arrival, bytes(events + b"]"), TOO_MANY, message, "")


def _letter(arrival: Arrival, original: bytes, code: str, message: str, message_id: str) -> Record:
    headers = {
        "group": b"ingest",
        "reason": code.encode(),
        "detail": message.encode(),
        "source": str(arrival.source).encode(),
        "received_at": arrival.received_at.isoformat().encode(),
    }
    if message_id:
        headers["message_id"] = message_id.encode()
    if len(original) > LETTER_BYTES:
        headers["whole_bytes"] = str(len(original)).encode()
    key = f"{arrival.workspace}:source:{arrival.source}".encode()
    return Record(key, without_write_key(original[:LETTER_BYTES]), headers)


def _count(outcome: Outcome, lane: str) -> None:
    _events_of("accepted", lane).inc(len(outcome.accepted))
    rules: defaultdict[str | None, int] = defaultdict(int)  # a Tally takes longer to make than one event to count
    for event in outcome.accepted:
        rules[event.account_rule] += 1
        for flag in event.flags:
            _flags.labels(flag).inc()
    for rule, count in rules.items():
        _rules_of(rule or "unassigned").inc(count)
    if outcome.rejected:
        _events_of("rejected", lane).inc(outcome.rejected)
        codes = Tally(reject.code for reject in outcome.rejects)
        codes[TOO_MANY] += len(outcome.surplus)
        for code, count in codes.items():
            _rejected.labels(code).inc(count)


# Counters by their labels, remembered: finding one takes longer than counting, and we count with every request.
_events_of = lru_cache(maxsize=16)(_events.labels)
_rules_of = lru_cache(maxsize=64)(_rules.labels)
