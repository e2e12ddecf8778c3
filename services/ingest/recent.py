"""Gathers beside the hot paths what was taken and refused lately, for people who ask whether their event arrived.

Best effort: nothing waits for it and nothing is decided by it. The event log and its dead letters are the truth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Generic, NamedTuple, TypeVar

from starlette.exceptions import HTTPException

from libs.common.clock import Clock, wall_now
from libs.common.error_answers import BodyTooLarge
from libs.common.errors import Refused, RetryLater
from libs.common.events import TelemetryReceived
from services.ingest.domain.acceptance import Arrival, Outcome, Reject
from services.ingest.domain.originals import without_write_key
from services.ingest.domain.recent import (
    KEPT,
    ORIGINAL_BYTES,
    SENTENCE_CHARACTERS,
    RecentEvent,
    RecentReject,
    taken,
)
from services.ingest.pressure import NotNow
from services.ingest.publisher import TOO_MANY
from services.ingest.write_keys import KeyOwner

HELD_BYTES = 4 * 1024 * 1024
"""Of bodies whose events are still referred to. Beyond it what counts is copied out of them, and the rest let go."""
HELD_ROWS = 10_000
"""Of all sources. Beyond it, when PostgreSQL has not taken any for long, those that wait longest are given up."""

T = TypeVar("T")
Refusal = Refused | RetryLater | HTTPException
"""What ends a request whose key is known."""


class Request(NamedTuple):
    """What the rows of a request have in common. ``made_ids`` are those of events that came without a message id."""

    owner: KeyOwner
    noted_at: datetime
    received_at: datetime
    historical: bool
    strict: bool
    made_ids: Collection[str] = ()


class Ring(Generic[T]):
    """The last ``KEPT`` of what comes in portions, each of which is only referred to: its size costs nothing."""

    def __init__(self) -> None:
        self._portions: deque[tuple[Sequence[T], Request]] = deque()
        self._count = 0

    def add(self, items: Sequence[T], request: Request) -> None:
        self._portions.append((items, request))
        self._count += len(items)
        while self._count - len(self._portions[0][0]) >= KEPT:
            self._count -= len(self._portions.popleft()[0])

    def drain(self) -> Iterator[tuple[T, Request]]:
        """Oldest first; empty afterwards."""
        passed_over = max(0, self._count - KEPT)
        for items, request in self._portions:
            for item in items[passed_over:]:
                yield item, request
            passed_over = 0
        self._portions.clear()
        self._count = 0


@dataclass(slots=True)
class Rows:
    """What is to be written of a source."""

    events: Sequence[RecentEvent]
    rejects: Sequence[RecentReject]

    def __len__(self) -> int:
        return len(self.events) + len(self.rejects)


Place = tuple[int, int]
"""Workspace and source."""


@dataclass(slots=True)
class _OfSource:
    """What came of a source since it was written down. ``refusals`` of one kind are counted: a flood is one row."""

    taken: Ring[TelemetryReceived] = field(default_factory=Ring)
    rejected: Ring[Reject] = field(default_factory=Ring)
    events: deque[RecentEvent] = field(default_factory=lambda: deque(maxlen=KEPT))
    rejects: deque[RecentReject] = field(default_factory=lambda: deque(maxlen=KEPT))
    refusals: dict[tuple[object, ...], RecentReject] = field(default_factory=dict)

    def let_bodies_go(self) -> int:
        """How many rows there are."""
        self.events.extend(
            taken(
                event,
                key_id=request.owner.key_id,
                noted_at=request.noted_at,
                message_id_sent=event.id not in request.made_ids,
                strict=request.strict,
            )
            for event, request in self.taken.drain()
        )
        self.rejects.extend(_reject_row(reject, request) for reject, request in self.rejected.drain())
        return len(self.events) + len(self.rejects) + len(self.refusals)

    def rows(self) -> Rows:
        self.let_bodies_go()
        rejects = sorted([*self.rejects, *self.refusals.values()], key=lambda reject: reject.noted_at)
        return Rows(list(self.events), rejects)

    def put_back(self, rows: Rows) -> None:
        """What could not be written, in front of what came meanwhile."""
        self.events = deque([*rows.events, *self.events], maxlen=KEPT)
        refusals = {reject.kind: reject for reject in rows.rejects if reject.status is not None}
        self.rejects = deque(
            [*(reject for reject in rows.rejects if reject.status is None), *self.rejects], maxlen=KEPT
        )
        for kind, refusal in refusals.items():
            if kind in self.refusals:
                self.refusals[kind].times += refusal.times
            else:
                self.refusals[kind] = refusal


class Recent:
    """``decided`` and ``refused`` are called by the hot paths, ``take`` and ``put_back`` by who writes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources: dict[Place, _OfSource] = {}
        self._referred_bytes = 0

    def decided(self, owner: KeyOwner, outcome: Outcome, arrival: Arrival, *, strict: bool, body_bytes: int) -> None:
        """What was decided about each event of a request, once the answer says so too. ``outcome`` must stay as it
        is from then on."""
        source = self._source_of(owner)
        request = Request(owner, arrival.wall_now, arrival.received_at, arrival.historical, strict, outcome.made_ids)
        if outcome.accepted:
            source.taken.add(outcome.accepted, request)
        if outcome.rejects:
            source.rejected.add(outcome.rejects, request)
        if outcome.surplus:
            source.rejects.append(_surplus_row(outcome, request))
        self._referred_bytes += body_bytes
        if self._referred_bytes > HELD_BYTES:
            self._let_bodies_go()

    def refused(
        self, owner: KeyOwner, refusal: Refusal, *, body: bytes = b"", historical: bool = False, strict: bool = False
    ) -> None:
        """A whole request that was refused after its key was known. ``body`` as far as it could not be read."""
        status, code = _status_and_code(refusal)
        source = self._source_of(owner)
        kind = (status, code, owner.key_id, historical)
        if (known := source.refusals.get(kind)) is not None:
            known.times += 1
            return
        request = Request(owner, wall_now(), self._clock.now(), historical, strict)
        source.refusals[kind] = _row(request, code, _sentence(refusal), status=status, original=body)

    def take(self, most: int) -> dict[Place, Rows]:
        """The rows of the sources that wait longest, as many sources as have ``most`` rows together."""
        self._let_bodies_go()
        found: dict[Place, Rows] = {}
        count = 0
        while self._sources and count < most:
            place = next(iter(self._sources))
            rows = self._sources.pop(place).rows()
            if rows:
                found[place] = rows
            count += len(rows)
        return found

    def put_back(self, rows: dict[Place, Rows]) -> None:
        """They are first again."""
        later, self._sources = self._sources, {}
        for place, ours in rows.items():
            self._sources[place] = later.pop(place) if place in later else _OfSource()
            self._sources[place].put_back(ours)
        self._sources |= later

    def _source_of(self, owner: KeyOwner) -> _OfSource:
        place = (owner.workspace, owner.source)
        source = self._sources.get(place)
        if source is None:
            source = self._sources[place] = _OfSource()
        return source

    def _let_bodies_go(self) -> None:
        self._referred_bytes = 0
        count = sum(source.let_bodies_go() for source in self._sources.values())
        while count > HELD_ROWS:
            count -= self._sources.pop(next(iter(self._sources))).let_bodies_go()


def _row(
    request: Request,
    code: str,
    message: str,
    *,
    original: bytes,
    status: int | None = None,
    times: int = 1,
    index: int | None = None,
    message_id: str | None = None,
) -> RecentReject:
    return RecentReject(
        workspace_id=request.owner.workspace,
        source_id=request.owner.source,
        key_id=request.owner.key_id,
        noted_at=request.noted_at,
        received_at=request.received_at,
        status=status,
        code=code,
        message=_storable(message)[:SENTENCE_CHARACTERS],
        times=times,
        index=index,
        message_id=None if message_id is None else _storable(message_id),
        original=without_write_key(bytes(original[:ORIGINAL_BYTES])),
        original_bytes=len(original),
        historical=request.historical,
        strict=request.strict,
    )


def _reject_row(reject: Reject, request: Request) -> RecentReject:
    return _row(
        request,
        reject.code,
        reject.message,
        original=reject.original,
        index=reject.index,
        message_id=reject.message_id,
    )


def _surplus_row(outcome: Outcome, request: Request) -> RecentReject:
    return _row(
        request,
        TOO_MANY,
        f"A batch may have {outcome.judged} events; these came after them.",
        original=bytes(outcome.surplus[0]),
        times=len(outcome.surplus),
        index=outcome.judged,
    )


def _status_and_code(refusal: Refusal) -> tuple[int, str]:
    """As error_answers.py answers."""
    match refusal:
        case Refused():
            return refusal.status, refusal.code
        case NotNow():
            return 503, refusal.code
        case RetryLater():
            return 503, "unavailable"
        case BodyTooLarge():
            return 413, "body_too_large"
        case HTTPException():
            return refusal.status_code, HTTPStatus(refusal.status_code).phrase.lower().replace(" ", "_")


def _sentence(refusal: Refusal) -> str:
    match refusal:
        case BodyTooLarge():
            return f"The body is larger than {refusal.limit_bytes} bytes."
        case HTTPException():
            return str(refusal.detail)
        case _:
            return str(refusal)


def _storable(text: str) -> str:
    """Without what PostgreSQL's text cannot hold, whatever was refused."""
    return text.replace("\0", "").encode(errors="replace").decode()
