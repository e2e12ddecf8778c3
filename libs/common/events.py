"""Every event that travels between services: one class each, JSON on the wire, tagged with its versioned type.

An event knows its topic and its key, so neither ever travels as a string. Published types are never changed in a
way that old bytes no longer decode: fields are added with a default, or a ``.v2`` is made.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

import msgspec

from libs.common.errors import InvalidEvent
from libs.common.topics import Topic

Workspace = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""A datetime with its time zone; one without is refused."""

_DERIVED_IDS = uuid.UUID("6b1f6f0e-7f0a-4c52-9a53-6b697a617368")


def derived_id(workspace: int, account_id: str, kind: str, n: int | str) -> str:
    """The id of an event that follows from facts: the same facts give the same id, whatever the batch.

    ``n`` is a counter per account and kind, stored under the account's lock.
    """
    return str(uuid.uuid5(_DERIVED_IDS, f"{workspace}\0{account_id}\0{kind}\0{n}"))


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """``workspace`` is the tenant's number; ``id`` is unique within (workspace, origin)."""

    topic: ClassVar[Topic]

    workspace: Workspace
    id: str

    @property
    def origin(self) -> str:
        """Who gave out ``id``."""
        return self.topic.value

    @property
    def key(self) -> bytes:
        """Events with the same key are read in the order in which they were written."""
        raise NotImplementedError

    @property
    def destination(self) -> Topic:
        """The topic that this very event goes to."""
        return self.topic

    def claim(self) -> bytes:
        """16 bytes that stand for this event when duplicates are recognised."""
        return hashlib.blake2b(f"{self.workspace}\0{self.origin}\0{self.id}".encode(), digest_size=16).digest()


class AccountEvent(Event, frozen=True, kw_only=True):
    """An event about one account; all events of an account are in order."""

    account_id: str

    @property
    def key(self) -> bytes:
        return f"{self.workspace}:{self.account_id}".encode()


# --- telemetry: ingest -> health ---------------------------------------------------------------------------------


class TelemetryKind(StrEnum):
    TRACK = "track"
    IDENTIFY = "identify"
    GROUP = "group"
    PAGE = "page"
    SCREEN = "screen"
    ALIAS = "alias"


class TelemetryReceived(Event, frozen=True, kw_only=True, tag="telemetry.received.v1"):
    """One accepted call of a product's SDK.

    ``id`` is the client's message id and ``source`` gave it out. ``account_id`` is the account that the event itself
    names (for ``group``: the group), found by ``account_rule``; None leaves it to the user's group calls.
    ``event`` is the name: of ``track`` the client's own, else ``Page Viewed``, ``Screen Viewed``, ``$identify``,
    ``$group``, ``$alias``. ``occurred_at`` is domain time, corrected for client skew, at most ``received_at`` plus
    five minutes.
    """

    topic = Topic.TELEMETRY

    source: int
    kind: TelemetryKind
    event: str
    user_id: str | None = None
    anonymous_id: str | None = None
    previous_id: str | None = None
    account_id: str | None = None
    account_rule: str | None = None
    properties: msgspec.Raw = msgspec.Raw(b"{}")
    traits: msgspec.Raw = msgspec.Raw(b"{}")
    occurred_at: Moment
    received_at: Moment
    original_timestamp: str | None = None
    sent_at: str | None = None
    flags: tuple[str, ...] = ()
    historical: bool = False

    @property
    def origin(self) -> str:
        return f"source:{self.source}"

    @property
    def key(self) -> bytes:
        """Short on purpose: the workspace number and 8 bytes of a hash of user, else account, else message id."""
        who = self.user_id or self.anonymous_id or self.account_id or self.id
        return f"{self.workspace}:".encode() + hashlib.blake2b(who.encode(), digest_size=8).hexdigest().encode()

    @property
    def destination(self) -> Topic:
        return Topic.TELEMETRY_IMPORT if self.historical else Topic.TELEMETRY


class SourceWentLive(Event, frozen=True, kw_only=True, tag="telemetry.source_went_live.v1"):
    """A person said that a source's history is complete. Ingest appends one to each partition of both telemetry
    topics; health takes the source as live once it has read them all."""

    topic = Topic.TELEMETRY

    source: int
    in_topic: Topic
    in_partition: int
    occurred_at: Moment

    @property
    def origin(self) -> str:
        return f"source-live:{self.source}"

    @property
    def key(self) -> bytes:
        return f"{self.workspace}:source:{self.source}".encode()

    @property
    def destination(self) -> Topic:
        return self.in_topic


# --- health: health -> playbook ----------------------------------------------------------------------------------


class Band(StrEnum):
    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a score is what it is, one measure of it, in words a CSM can use."""

    measure: str
    title: str
    value: str
    threshold: str
    window: str
    points_lost: float
    """Points of 100 that this measure costs now."""
    change: float = 0.0
    """Points won (positive) or lost since the score that the alert compares with."""


class AccountChanged(AccountEvent, frozen=True, kw_only=True, tag="health.account_changed.v1"):
    """A full snapshot of an account. A higher ``version`` replaces a lower one, whatever the order of arrival.

    ``as_of`` is domain time. ``arr`` is annual recurring revenue in whole units of the workspace's currency.
    ``band`` and ``score`` (0-100) are None while there is too little data. ``silent`` is True from AccountWentSilent
    until a person of the account does something again; None where the writer does not say.
    """

    topic = Topic.HEALTH

    version: int
    as_of: Moment
    name: str
    segment: str
    stage: str
    arr: float | None = None
    owner: str | None = None
    contact_email: str | None = None
    contact_name: str | None = None
    renewal_date: date | None = None
    band: Band | None = None
    score: float | None = None
    silent: bool | None = None


class AccountFinding(AccountEvent, frozen=True, kw_only=True):
    """Something that health found out about an account, once per ``episode``.

    ``as_of`` is the domain time of the score that shows it; ``due_at`` is the real time at which it could first be
    known (the facts had arrived, the moment had come), from which the time to the alert is measured.
    ``trend`` is usage per week, oldest first, at most eight weeks.
    """

    account_version: int
    episode: int
    as_of: Moment
    due_at: Moment
    score: float | None
    band: Band | None
    reasons: tuple[Reason, ...] = ()
    trend: tuple[int, ...] = ()


class HealthBandChanged(AccountFinding, frozen=True, kw_only=True, tag="health.band_changed.v1"):
    """The account entered another band. ``episode`` counts the times that it left green; it stays the same until
    the account is green again."""

    topic = Topic.HEALTH

    band_before: Band | None
    score_before: float | None


class AccountWentSilent(AccountFinding, frozen=True, kw_only=True, tag="health.account_went_silent.v1"):
    """No person of an account that was active has done anything for longer than its own rhythm explains."""

    topic = Topic.HEALTH

    last_activity_at: Moment
    expected_by: Moment
    """Domain time by which activity was due; it went silent at this moment."""


# --- touches: playbook -> notify ---------------------------------------------------------------------------------


class Channel(StrEnum):
    SLACK = "slack"
    EMAIL = "email"


class Tier(StrEnum):
    HIGH = "high_touch"
    LOW = "low_touch"
    TECH = "tech_touch"


class TouchFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that a message shows, as it was when the touch was decided."""

    account_name: str
    segment: str
    stage: str
    finding: str
    arr: float | None = None
    owner: str | None = None
    contact_name: str | None = None
    renewal_date: date | None = None
    days_to_renewal: int | None = None
    band_before: Band | None = None
    band: Band | None = None
    score_before: float | None = None
    score: float | None = None
    reasons: tuple[Reason, ...] = ()
    trend: tuple[int, ...] = ()
    last_activity_at: Moment | None = None


class TouchRequested(AccountEvent, frozen=True, kw_only=True, tag="playbook.touch_requested.v1"):
    """One action owed to somebody. ``id`` is the touch's id and its dedupe key: a touch is told once.

    ``recipient`` is a Slack channel or an email address; None when the account has none.
    ``fresh_until`` is domain time: told later it would mislead, so it is suppressed instead.
    """

    topic = Topic.TOUCHES

    account_version: int
    run_id: str
    playbook: str
    playbook_version: int
    step: int
    tier: Tier
    channel: Channel
    recipient: str | None
    template: str
    facts: TouchFacts
    requested_at: Moment
    fresh_until: Moment
    due_at: Moment
    """Real time at which the finding behind it was due, or the step itself when it waited."""


class TouchCancelled(AccountEvent, frozen=True, kw_only=True, tag="playbook.touch_cancelled.v1"):
    """A touch that is not owed any more, if it has not left the house."""

    topic = Topic.TOUCHES

    touch_id: str
    reason: str


# --- deliveries: notify -> playbook ------------------------------------------------------------------------------


class DeliveryResult(AccountEvent, frozen=True, kw_only=True):
    touch_id: str
    run_id: str
    channel: Channel
    recipient: str | None
    at: Moment
    """Domain time."""


class TouchDelivered(DeliveryResult, frozen=True, kw_only=True, tag="notify.touch_delivered.v1"):
    """The channel's provider took it. ``provider_id`` is its name for the message."""

    topic = Topic.DELIVERIES

    provider_id: str
    accepted_at: Moment
    """Real time of the provider's acknowledgement."""


class TouchFailed(DeliveryResult, frozen=True, kw_only=True, tag="notify.touch_failed.v1"):
    topic = Topic.DELIVERIES

    reason: str


class TouchSuppressed(DeliveryResult, frozen=True, kw_only=True, tag="notify.touch_suppressed.v1"):
    """It was decided not to tell; ``reason`` is a short code (``observe``, ``kill_switch``, ``no_recipient``,
    ``suppression_list``, ``stale``, ``cancelled``)."""

    topic = Topic.DELIVERIES

    reason: str


AnyEvent = (
    TelemetryReceived
    | SourceWentLive
    | AccountChanged
    | HealthBandChanged
    | AccountWentSilent
    | TouchRequested
    | TouchCancelled
    | TouchDelivered
    | TouchFailed
    | TouchSuppressed
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyEvent)


def encode(event: Event) -> bytes:
    """The event as it travels."""
    return _encoder.encode(event)


def decode(value: bytes) -> Event:
    """The event that ``value`` holds. Raises InvalidEvent: ``not_json``, ``unknown_type`` or ``breaks_contract``."""
    try:
        event: Event = _decoder.decode(value)
    except msgspec.ValidationError as exc:
        unknown = "Invalid value" in str(exc) and str(exc).endswith("`$.type`")
        raise InvalidEvent("unknown_type" if unknown else "breaks_contract", str(exc)) from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InvalidEvent("not_json", str(exc)) from exc
    except RecursionError as exc:
        raise InvalidEvent("breaks_contract", "nested too deeply") from exc
    return event
