"""Deliveries to test with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from libs.common.events import Channel, TouchFacts
from services.notify.domain.delivery import Delivery, State, delivery_id
from services.notify.templates import FULL_EXAMPLE, Templates

CONFIG = Path(__file__).parents[3] / "config"
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def delivery(facts: TouchFacts = FULL_EXAMPLE, **changes: Any) -> Delivery:
    """A pending Slack delivery that is fresh and has not expired at NOW."""
    fields: dict[str, Any] = {
        "workspace": 1,
        "id": delivery_id(1, "touch-1"),
        "touch_id": "touch-1",
        "account_id": "acme",
        "run_id": "run-1",
        "playbook": "usage-decline",
        "tier": "high_touch",
        "channel": Channel.SLACK,
        "target": "#customer-success",
        "template": "usage-decline",
        "facts": facts,
        "state": State.PENDING,
        "attempt": 0,
        "doubtful": 0,
        "cancelled": False,
        "requested_at": NOW,
        "fresh_until": NOW + timedelta(days=1),
        "due_at": NOW,
        "created_at": NOW,
        "expires_at": NOW + timedelta(hours=24),
        "lease_until": None,
    }
    return Delivery(**(fields | changes))


def templates() -> Templates:
    return Templates(CONFIG)
