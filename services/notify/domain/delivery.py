"""A delivery as the ledger knows it, and the rules of the workspace that it belongs to."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from libs.common.events import Channel, TouchFacts, derived_id

EXPIRES_AFTER = timedelta(hours=24)
"""Real time for which a delivery is tried."""


class State(StrEnum):
    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    SUPPRESSED = "suppressed"
    UNKNOWN = "unknown"


class Waiting(StrEnum):
    """Why a delivery that is not final is not being worked on at this moment."""

    TURN = "turn"
    RETRY = "retry"
    CHANNEL = "channel"
    """Its whole channel waits: the provider asked for a pause or does not answer."""
    HOURLY_CAP = "hourly_cap"
    LEASE = "lease"
    OUTCOME = "outcome"


class Mode(StrEnum):
    OBSERVE = "observe"
    ENABLED = "enabled"


class UnknownPolicy(StrEnum):
    """What to do where a channel cannot say whether it took a message."""

    PREFER_DUPLICATE = "prefer_duplicate"
    PREFER_MISS = "prefer_miss"


class Settling(StrEnum):
    """How a transport settles an unknown outcome."""

    LOOK_UP = "look_up"  # read back whether the message is there
    SAME_ID = "same_id"  # send again under the same id, which readers fold
    POLICY = "policy"  # it cannot: the workspace's policy decides


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One row of the ledger. ``attempt`` grows with each call and tells one owner of the row from the next.

    ``doubtful`` counts earlier attempts that may have told somebody although we tried again or gave up.
    ``fresh_until`` and ``requested_at`` are domain time; all others are real time.
    """

    workspace: int
    id: uuid.UUID
    touch_id: str
    account_id: str
    run_id: str
    playbook: str
    tier: str
    channel: Channel
    target: str | None
    template: str
    facts: TouchFacts
    state: State
    attempt: int
    doubtful: int
    cancelled: bool
    requested_at: datetime
    fresh_until: datetime
    due_at: datetime
    created_at: datetime
    expires_at: datetime
    lease_until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a workspace wants at this moment. ``cap_free_at`` is set when the hourly cap is used up."""

    mode: Mode = Mode.OBSERVE
    kill_switch: bool = False
    webhook_unknown: UnknownPolicy = UnknownPolicy.PREFER_DUPLICATE
    on_suppression_list: bool = False
    cap_free_at: datetime | None = None


def delivery_id(workspace: int, touch_id: str) -> uuid.UUID:
    """The id that the provider sees. It follows from the touch, so no replay can make a second one."""
    return uuid.UUID(derived_id(workspace, touch_id, "delivery", 1))
