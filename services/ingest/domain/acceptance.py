"""Decides about each event of a document: accepted as telemetry, or rejected with a code and a sentence."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from libs.common.errors import InvalidEvent
from libs.common.events import TelemetryKind, TelemetryReceived
from services.ingest.domain.accounts import AccountNames, resolve
from services.ingest.domain.calls import (
    DEPTH_LIMIT,
    MESSAGE_ID_CHARACTERS,
    NO_CONTEXT,
    Call,
    Scalar,
    depth_exceeds,
    identifier,
    read_object,
)
from services.ingest.domain.documents import Document
from services.ingest.domain.times import as_sent, date, read_time

KINDS = {kind.value: kind for kind in TelemetryKind}
EVENT_NAMES = {
    TelemetryKind.PAGE: "Page Viewed",
    TelemetryKind.SCREEN: "Screen Viewed",
    TelemetryKind.IDENTIFY: "$identify",
    TelemetryKind.GROUP: "$group",
    TelemetryKind.ALIAS: "$alias",
}
_EMPTY = msgspec.Raw(b"{}")
_CHANGES_WITH_EACH_ATTEMPT = ("sentAt", "writeKey")
_IDS_OF_EVENTS = uuid.UUID("0d3f6c7e-52a4-4f0e-9c1b-6b697a617368")


@dataclass(frozen=True, slots=True)
class Limits:
    event_bytes: int = 64 * 1024
    events: int = 2500
    characters: int = 200
    """Of ids and event names."""
    message_id_characters: int = MESSAGE_ID_CHARACTERS
    depth: int = DEPTH_LIMIT


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Where and when a document arrived.

    ``kind`` is the path's, None on paths whose events name their own. ``received_at`` is domain time, ``wall_now``
    real time. ``fresh_id`` gives an id that no other event has.
    """

    workspace: int
    source: int
    kind: TelemetryKind | None
    historical: bool
    received_at: datetime
    wall_now: datetime
    fresh_id: Callable[[], str]


@dataclass(frozen=True, slots=True)
class Reject:
    """An event that was refused, with its place in the batch and its bytes."""

    index: int
    message_id: str | None
    code: str
    message: str
    original: bytes


@dataclass(slots=True)
class Outcome:
    """``surplus`` are the events beyond the limit: rejected unread, from index ``judged`` on. ``made_ids`` are those of
    accepted events that came without a message id."""

    accepted: list[TelemetryReceived] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    judged: int = 0
    surplus: Sequence[msgspec.Raw] = ()
    made_ids: set[str] = field(default_factory=set)

    @property
    def rejected(self) -> int:
        return len(self.rejects) + len(self.surplus)


def accept(document: Document, arrival: Arrival, limits: Limits, names: AccountNames) -> Outcome:
    """Decide about every event by itself: no client can resend a part of a batch, so the valid ones are kept."""
    judge = _Judge(document, arrival, limits, names)
    outcome = _nothing_yet(document, limits)
    _decide_about(range(outcome.judged), document, judge, outcome)
    return outcome


def accept_in_steps(
    document: Document, arrival: Arrival, limits: Limits, names: AccountNames, at_once: int
) -> Iterator[Outcome]:
    """The same, giving the one outcome after each step of so many events; it is complete after the last."""
    judge = _Judge(document, arrival, limits, names)
    outcome = _nothing_yet(document, limits)
    for begin in range(0, outcome.judged, at_once):
        _decide_about(range(begin, min(begin + at_once, outcome.judged)), document, judge, outcome)
        yield outcome


def _nothing_yet(document: Document, limits: Limits) -> Outcome:
    return Outcome(judged=min(len(document.events), limits.events), surplus=document.events[limits.events :])


def _decide_about(indexes: Iterable[int], document: Document, judge: _Judge, outcome: Outcome) -> None:
    for index in indexes:
        event = bytes(document.events[index])
        judge.message_id = None
        try:
            outcome.accepted.append(accepted := judge.telemetry(event))
            if judge.message_id is None:
                outcome.made_ids.add(accepted.id)
        except InvalidEvent as exc:
            outcome.rejects.append(Reject(index, judge.message_id, exc.reason, str(exc), event))


class _Judge:
    """What all events of a document have in common, worked out once."""

    def __init__(self, document: Document, arrival: Arrival, limits: Limits, names: AccountNames) -> None:
        self._arrival = arrival
        self._limits = limits
        self._names = names
        self._read = document.read
        self._context = document.context
        self._sent_at = document.sent_at
        self._sent_at_read = read_time(document.sent_at)
        self.message_id: str | None = None
        """Of the event judged last, as far as it could be read."""

    def telemetry(self, event: bytes) -> TelemetryReceived:
        """Raises InvalidEvent."""
        arrival, limits = self._arrival, self._limits
        if len(event) > limits.event_bytes:
            raise InvalidEvent(
                "event_too_large", f"The event has {len(event)} bytes; at most {limits.event_bytes} are taken."
            )
        if depth_exceeds(event, limits.depth):
            raise InvalidEvent("event_too_deep", f"The event is nested deeper than {limits.depth} levels.")
        call = self._read(event)
        self.message_id = identifier(call.message_id, "message_id", limits.message_id_characters)
        kind = arrival.kind or _kind_of(call.type)
        name = EVENT_NAMES.get(kind) or identifier(call.event, "event", limits.characters)
        if name is None:
            raise InvalidEvent("missing_event", "A track call needs `event`, the name of what happened.")
        user_id = identifier(call.user_id, "user_id", limits.characters)
        anonymous_id = identifier(call.anonymous_id, "anonymous_id", limits.characters)
        previous_id = identifier(call.previous_id, "previous_id", limits.characters)
        properties = read_object(call.properties, "properties")
        traits, raw_traits = self._traits(kind, call)
        context = call.context or NO_CONTEXT
        account = resolve(
            kind,
            context_group=context.group_id,
            batch_group=self._context.group_id,
            group=call.group_id,
            properties=properties,
            traits=traits,
            names=self._names,
            limit=limits.characters,
            subject=call.subject,
        )
        if kind is TelemetryKind.GROUP and account.account_id is None:
            raise InvalidEvent("missing_group_id", "A group call needs `groupId`, the account.")
        named = user_id or anonymous_id or account.account_id or (kind is TelemetryKind.ALIAS and previous_id)
        if call.needs_user and not named:
            raise InvalidEvent("missing_user", "An event needs `userId`, `anonymousId` or an account (`groupId`).")
        timestamp = call.timestamp or call.original_timestamp
        sent_at, sent_at_read = self._sent(call)
        dated = date(timestamp, sent_at_read, arrival.received_at, arrival.wall_now)
        return TelemetryReceived(
            workspace=arrival.workspace,
            id=self.message_id or self._id_without_message_id(kind, event, timestamp),
            source=arrival.source,
            kind=kind,
            event=name,
            user_id=user_id,
            anonymous_id=anonymous_id,
            previous_id=previous_id,
            account_id=account.account_id,
            account_rule=account.rule,
            properties=_with_name(call, kind, properties),
            traits=raw_traits,
            occurred_at=dated.occurred_at,
            received_at=arrival.received_at,
            original_timestamp=as_sent(timestamp),
            sent_at=as_sent(sent_at),
            flags=dated.flags,
            historical=arrival.historical,
        )

    def _sent(self, call: Call) -> tuple[Scalar, datetime | None]:
        """As written and as read: the document's, which is written last, else the event's own."""
        if self._arrival.historical:  # an archive was sent long ago: by that, all of its times would become today's
            return call.sent_at if self._sent_at is None else self._sent_at, None
        if self._sent_at is not None or call.sent_at is None:
            return self._sent_at, self._sent_at_read
        return call.sent_at, read_time(call.sent_at)

    def _traits(self, kind: TelemetryKind, call: Call) -> tuple[dict[str, Any], msgspec.Raw]:
        """The traits to find the company in, and those to keep. A context's traits are the user's: they lie under an
        identify call's own, a group call has nothing to do with them, and elsewhere they only name the company."""
        own = read_object(call.traits, "traits")
        kept = call.traits if own else _EMPTY
        context = call.context if call.context is not None and len(call.context.traits) else self._context
        if kind is TelemetryKind.GROUP or not len(context.traits):
            return own, kept
        try:
            below = read_object(context.traits, "traits")
        except InvalidEvent:
            return own, kept
        if kind is not TelemetryKind.IDENTIFY:
            return own or below, kept
        merged = below | own
        return merged, msgspec.Raw(msgspec.json.encode(merged)) if below else kept

    def _id_without_message_id(self, kind: TelemetryKind, event: bytes, timestamp: Scalar) -> str:
        """The same event sent again gets the same id, if its time tells it from another one that looks like it.
        Without a time it gets a fresh id: such events are counted at least once."""
        if read_time(timestamp) is None:
            return self._arrival.fresh_id()
        fields = msgspec.json.decode(event, type=dict[str, msgspec.Raw])
        for changing in _CHANGES_WITH_EACH_ATTEMPT:
            fields.pop(changing, None)
        about = f"{self._arrival.workspace}:{self._arrival.source}:{kind}:".encode()
        digest = hashlib.sha1(_IDS_OF_EVENTS.bytes + about + msgspec.json.encode(fields), usedforsecurity=False)
        return str(uuid.UUID(bytes=digest.digest()[:16], version=5))


def _kind_of(named: Scalar) -> TelemetryKind:
    kind = KINDS.get(named) if isinstance(named, str) else None
    if kind is None:
        raise InvalidEvent("unknown_type", f"`type` must be one of {', '.join(KINDS)}.")
    return kind


def _with_name(call: Call, kind: TelemetryKind, properties: dict[str, Any]) -> msgspec.Raw:
    """The properties, with the name of a page or screen among them, where most SDKs put it themselves."""
    named = kind in (TelemetryKind.PAGE, TelemetryKind.SCREEN) and isinstance(call.name, str) and call.name
    if named and "name" not in properties:
        return msgspec.Raw(msgspec.json.encode({**properties, "name": call.name}))
    return call.properties if properties else _EMPTY
