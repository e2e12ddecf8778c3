"""The one final result of a touch, as an event for playbook."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from libs.common.events import Channel, TouchDelivered, TouchFailed, TouchSuppressed, derived_id
from services.notify.domain.delivery import Delivery


def _result_id(delivery: Delivery) -> str:
    """The id of the touch's one final result, whichever it is: a second result would be absorbed as a duplicate."""
    return derived_id(delivery.workspace, delivery.account_id, "touch_result", delivery.touch_id)


class _About(TypedDict):
    """What all results say."""

    workspace: int
    id: str
    account_id: str
    touch_id: str
    run_id: str
    channel: Channel
    recipient: str | None
    at: datetime


def _about(delivery: Delivery, at: datetime) -> _About:
    return {
        "workspace": delivery.workspace,
        "id": _result_id(delivery),
        "account_id": delivery.account_id,
        "touch_id": delivery.touch_id,
        "run_id": delivery.run_id,
        "channel": delivery.channel,
        "recipient": delivery.target,
        "at": at,
    }


def delivered(delivery: Delivery, *, provider_id: str, accepted_at: datetime, at: datetime) -> TouchDelivered:
    """``accepted_at`` is real time, ``at`` domain time, here and below."""
    return TouchDelivered(**_about(delivery, at), provider_id=provider_id, accepted_at=accepted_at)


def failed(delivery: Delivery, *, reason: str, at: datetime) -> TouchFailed:
    return TouchFailed(**_about(delivery, at), reason=reason)


def suppressed(delivery: Delivery, *, reason: str, at: datetime) -> TouchSuppressed:
    return TouchSuppressed(**_about(delivery, at), reason=reason)
