"""What a product's SDK sends, and what ingest makes of it: calls of about 300 bytes, spread over accounts and users."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from libs.common.clock import wall_now
from libs.common.event_log import Record
from libs.common.events import encode
from services.ingest.bootstrap import Installed
from services.ingest.domain.acceptance import Arrival, Limits, accept
from services.ingest.domain.accounts import AccountNames
from services.ingest.domain.documents import read_batch

ACCOUNTS = 1_000
USERS_OF_AN_ACCOUNT = 5
_EVENTS = ("Report Exported", "Dashboard Viewed", "Invoice Approved", "Member Invited", "Search Performed")


def call(number: int, message_id: str, at: datetime, accounts: int = ACCOUNTS) -> Mapping[str, Any]:
    """A Segment ``track`` of one of the accounts, which take turns."""
    account = number % accounts
    user = number // accounts % USERS_OF_AN_ACCOUNT
    return {
        "type": "track",
        "event": _EVENTS[number % len(_EVENTS)],
        "messageId": message_id,
        "userId": f"user-{account:05}-{user}",
        "timestamp": at.isoformat(timespec="milliseconds"),
        "context": {"groupId": f"account-{account:05}", "library": {"name": "analytics-python", "version": "2.4.0"}},
        "properties": {"format": "pdf", "pages": number % 90, "seconds": number % 7 + 0.25, "screen": "overview"},
    }


def batch(calls: Sequence[Mapping[str, Any]]) -> bytes:
    """The body of POST /v1/batch, in one line."""
    return _json({"batch": calls})


def single(one: Mapping[str, Any]) -> bytes:
    """The body of POST /v1/track, in one line."""
    return _json(one)


def records(calls: Sequence[Mapping[str, Any]], source: Installed) -> list[Record]:
    """As ingest appends them, once its own rules have accepted the calls."""
    now = wall_now()
    arrival = Arrival(
        workspace=source.workspace,
        source=source.source,
        kind=None,
        historical=False,
        received_at=now,
        wall_now=now,
        fresh_id=lambda: "none: every call has its own",
    )
    outcome = accept(read_batch(batch(calls)), arrival, Limits(events=len(calls)), AccountNames())
    assert len(outcome.accepted) == len(calls), outcome.rejects
    return [Record(event.key, encode(event)) for event in outcome.accepted]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
