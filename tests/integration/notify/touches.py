"""Touches to test with."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from libs.common.events import Channel, Tier, TouchCancelled, TouchRequested
from services.notify.templates import FULL_EXAMPLE
from tests.unit.notify.samples import NOW


def slack_touch(n: int = 1, *, now: datetime = NOW, **changes: Any) -> TouchRequested:
    """The nth touch, about the nth account, to the high-touch channel, fresh for 14 days."""
    fields: dict[str, Any] = {
        "workspace": 1,
        "id": f"touch-{n}",
        "account_id": f"account-{n}",
        "account_version": 1,
        "run_id": f"run-{n}",
        "playbook": "usage-decline",
        "playbook_version": 1,
        "step": 0,
        "tier": Tier.HIGH,
        "channel": Channel.SLACK,
        "recipient": "#customer-success",
        "template": "usage-decline",
        "facts": FULL_EXAMPLE,
        "requested_at": now,
        "fresh_until": now + timedelta(days=14),
        "due_at": now,
    }
    return TouchRequested(**(fields | changes))


def mail_touch(n: int = 1, *, now: datetime = NOW, **changes: Any) -> TouchRequested:
    """The nth touch, about the nth account, to its contact."""
    fields: dict[str, Any] = {
        "tier": Tier.TECH,
        "playbook": "account-silent",
        "template": "account-silent",
        "channel": Channel.EMAIL,
        "recipient": f"contact-{n}@example.com",
    }
    return slack_touch(n, now=now, **(fields | changes))


def cancelled(touch: TouchRequested) -> TouchCancelled:
    return TouchCancelled(
        workspace=touch.workspace,
        id=f"cancel {touch.id}",
        account_id=touch.account_id,
        touch_id=touch.id,
        reason="green_again",
    )
