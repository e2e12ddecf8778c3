"""What a batch of telemetry says, merged by key: the rows that handlers write and the work that follows from them.

Merging is by sum, minimum and maximum, so the order of events, their repetition over batches and the borders of
batches leave no trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, TypeVar

import msgspec

from libs.common.events import TelemetryKind, TelemetryReceived
from services.health import keys
from services.health.domain import Activity, Scalar

LONGEST_EMAIL = 254
"""Characters of an address (RFC 5321). What is longer is none, and would not fit into an index."""


LATE_AFTER = timedelta(days=7)
"""An event heard of so long after it happened is history, whichever way it came: a queue replayed, a device that was
offline. It corrects the score and tells nobody, as imported history does."""


class Lane(StrEnum):
    URGENT = "urgent"
    """Live news that the model looks inside, such as a ticket: it can lower a score at once."""
    LIVE = "live"
    IMPORT = "import"
    BASELINE = "baseline"
    """Of a source that goes live, and of the one rescoring that follows: whatever scoring takes it is silent."""

    @property
    def scored_with(self) -> tuple[Lane, ...]:
        """The lanes whose news one scoring takes together: what is live is one, whatever hurry it is in."""
        live = (Lane.URGENT, Lane.LIVE)
        return (*(live if self in live else (self,)), Lane.BASELINE)


class RequestKind(StrEnum):
    """What happened to a user, and hence which accounts it may concern."""

    USED = "used"  # ``target`` is the account that the event named, or empty
    JOINED = "joined"  # a group call; ``target`` is the account
    LINKED = "linked"  # an identify or alias call; ``target`` is the person
    RECOUNTED = "recounted"  # the user turned out not to count as a person of the customer
    WENT_LIVE = "went_live"  # ``target`` is a source


class UsageKey(NamedTuple):
    workspace: int
    user_key: str
    event_day: date
    account: str
    event: str
    source: int
    arrival_day: date


class TraitKey(NamedTuple):
    """``owner`` is a user key or an account."""

    workspace: int
    owner: str
    source: int
    digest: bytes
    event_day: date
    arrival_day: date


class CallKey(NamedTuple):
    """``target`` is an account (group calls) or a person (links)."""

    workspace: int
    user_key: str
    target: str
    event_day: date
    arrival_day: date


class OccurrenceKey(NamedTuple):
    workspace: int
    source: int
    message_id: str


class RequestKey(NamedTuple):
    workspace: int
    kind: RequestKind
    user_key: str
    target: str
    day: date | None
    lane: Lane


class EmailKey(NamedTuple):
    workspace: int
    user_key: str
    email: str


@dataclass(slots=True)
class Span:
    """How often, and between which moments."""

    first_at: datetime
    last_at: datetime
    n: int = 0

    def add(self, at: datetime) -> None:
        self.n += 1
        self.first_at = min(self.first_at, at)
        self.last_at = max(self.last_at, at)


@dataclass(frozen=True, slots=True)
class KeptOccurrence:
    user_key: str
    account: str
    event: str
    event_day: date
    at: datetime
    occurred_at: datetime
    received_at: datetime
    properties: bytes


@dataclass
class Tally:
    """Everything that a batch says. ``requests`` hold the latest fact behind each."""

    usage: dict[UsageKey, Span] = field(default_factory=dict)
    user_traits: dict[TraitKey, tuple[bytes, Span]] = field(default_factory=dict)
    account_traits: dict[TraitKey, tuple[bytes, Span]] = field(default_factory=dict)
    emails: set[EmailKey] = field(default_factory=set)
    group_calls: dict[CallKey, Span] = field(default_factory=dict)
    links: dict[CallKey, Span] = field(default_factory=dict)
    occurrences: dict[OccurrenceKey, KeptOccurrence] = field(default_factory=dict)
    requests: dict[RequestKey, datetime] = field(default_factory=dict)
    sources: set[tuple[int, int]] = field(default_factory=set)


def tally(
    events: Iterable[TelemetryReceived], kept_properties: Mapping[str, frozenset[str]], activity: Activity
) -> Tally:
    """Count ``events``. Of events that are not in ``kept_properties`` nothing but the count is kept."""
    counted = Tally()
    for event in events:
        _add(counted, event, kept_properties, activity)
    return counted


def _add(
    tally: Tally, event: TelemetryReceived, kept_properties: Mapping[str, frozenset[str]], activity: Activity
) -> None:
    occurred_at, received_at = event.occurred_at.astimezone(UTC), event.received_at.astimezone(UTC)
    # Nothing happens after it was heard of; clients' clocks may say so all the same.
    at = min(occurred_at, received_at)
    day, arrival_day = at.date(), received_at.date()
    user_key = keys.who(event.user_id, event.anonymous_id)
    account = event.account_id or ""
    lane = Lane.IMPORT if event.historical or received_at - at > LATE_AFTER else Lane.LIVE

    def request(kind: RequestKind, who: str, target: str, on: date | None, lane: Lane = lane) -> None:
        key = RequestKey(event.workspace, kind, who, target, on, lane)
        tally.requests[key] = max(at, tally.requests.get(key, at))

    tally.sources.add((event.workspace, event.source))
    _note(tally.usage, UsageKey(event.workspace, user_key, day, account, event.event, event.source, arrival_day), at)
    if user_key or account:
        hurry = lane is Lane.LIVE and event.event in kept_properties
        request(RequestKind.USED, user_key, account, day, Lane.URGENT if hurry else lane)

    if (kept := kept_properties.get(event.event)) is not None:
        tally.occurrences[OccurrenceKey(event.workspace, event.source, event.id)] = KeptOccurrence(
            user_key=user_key,
            account=account,
            event=event.event,
            event_day=day,
            at=at,
            occurred_at=occurred_at,
            received_at=received_at,
            properties=_encoder.encode(
                {name: value for name, value in _scalars(event.properties).items() if name in kept}
            ),
        )

    if event.kind is TelemetryKind.GROUP and account:
        _note_traits(tally.account_traits, event, account, at, arrival_day)
        if user_key:
            _note(tally.group_calls, CallKey(event.workspace, user_key, account, day, arrival_day), at)
            request(RequestKind.JOINED, user_key, account, day)

    if event.kind is TelemetryKind.IDENTIFY and user_key:
        traits = _note_traits(tally.user_traits, event, user_key, at, arrival_day)
        email = traits.get("email")
        if isinstance(email, str) and "@" in email and len(email) <= LONGEST_EMAIL:
            tally.emails.add(EmailKey(event.workspace, user_key, email))
            if not activity.person_counts(keys.original_id(user_key), email):
                request(RequestKind.RECOUNTED, user_key, "", None)

    for earlier, person in _links(event):
        _note(tally.links, CallKey(event.workspace, earlier, person, day, arrival_day), at)
        request(RequestKind.LINKED, earlier, person, day)


def _links(event: TelemetryReceived) -> list[tuple[str, str]]:
    """Which earlier ids the event says are the same person as its user."""
    if not event.user_id:
        return []
    person = keys.user(event.user_id)
    if event.kind is TelemetryKind.IDENTIFY and event.anonymous_id:
        return [(keys.anonymous(event.anonymous_id), person)]
    if event.kind is TelemetryKind.ALIAS and event.previous_id:
        # SDKs do not say whether the previous id was anonymous.
        earlier = (keys.anonymous(event.previous_id), keys.user(event.previous_id))
        return [(one, person) for one in earlier if one != person]
    return []


def _note_traits(
    rows: dict[TraitKey, tuple[bytes, Span]], event: TelemetryReceived, owner: str, at: datetime, arrival_day: date
) -> dict[str, Scalar | None]:
    traits = _scalars(event.traits)
    if traits:
        written = _encoder.encode(traits)
        digest = hashlib.blake2b(written, digest_size=16).digest()
        key = TraitKey(event.workspace, owner, event.source, digest, at.date(), arrival_day)
        rows.setdefault(key, (written, Span(at, at)))[1].add(at)
    return traits


K = TypeVar("K", UsageKey, CallKey)


def _note(rows: dict[K, Span], key: K, at: datetime) -> None:
    if key not in rows:
        rows[key] = Span(at, at)
    rows[key].add(at)


_encoder = msgspec.json.Encoder(order="sorted")


def _scalars(written: msgspec.Raw) -> dict[str, Scalar | None]:
    """The members of a JSON object that rules can look at. None takes back what an earlier call said."""
    members = msgspec.json.decode(written)
    if not isinstance(members, dict):
        return {}
    return {name: value for name, value in members.items() if value is None or isinstance(value, str | int | float)}
