"""What people are shown of an event that was taken, and of one that was refused: small, whatever was sent."""

from __future__ import annotations

from datetime import datetime

import msgspec

from libs.common.events import TelemetryReceived

KEPT = 100
"""Of each source: events taken, and refusals."""
KEPT_DAYS = 7
"""They hold ids of people, so they do not stay even where nothing new replaces them. As long as the event log."""
ORIGINAL_BYTES = 4096
"""Of what was refused; dead letters have all of it."""
SENTENCE_CHARACTERS = 500
"""Of the reason."""


class RecentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was taken. Ids and names have 200 characters at most, so a row stays small.

    ``noted_at`` is real time and orders what several processes take; ``received_at`` is domain time.
    ``message_id_sent`` is False where the client sent none and we made one. ``account_rule`` says where the event named
    its account; both are None when it names none. ``flags`` say how its time was mended. ``strict``: the request asked
    for all or nothing.
    """

    workspace_id: int
    source_id: int
    key_id: str
    noted_at: datetime
    received_at: datetime
    occurred_at: datetime
    message_id: str
    message_id_sent: bool
    kind: str
    event: str
    user_id: str | None
    anonymous_id: str | None
    account_id: str | None
    account_rule: str | None
    flags: tuple[str, ...]
    historical: bool
    strict: bool


class RecentReject(msgspec.Struct, kw_only=True):
    """What was refused: an event, with its ``index`` in the batch, or whole requests, with the ``status`` they got.
    ``times``: so many of them are meant. ``original`` is the beginning of ``original_bytes`` bytes, without a
    write key."""

    workspace_id: int
    source_id: int
    key_id: str
    noted_at: datetime
    received_at: datetime
    status: int | None = None
    code: str
    message: str
    times: int = 1
    index: int | None = None
    message_id: str | None = None
    original: bytes = b""
    original_bytes: int = 0
    historical: bool
    strict: bool

    @property
    def kind(self) -> tuple[object, ...]:
        """Requests that were refused alike are one row that counts them."""
        return (self.status, self.code, self.key_id, self.historical)


def taken(
    event: TelemetryReceived, *, key_id: str, noted_at: datetime, message_id_sent: bool, strict: bool
) -> RecentEvent:
    return RecentEvent(
        workspace_id=event.workspace,
        source_id=event.source,
        key_id=key_id,
        noted_at=noted_at,
        received_at=event.received_at,
        occurred_at=event.occurred_at,
        message_id=event.id,
        message_id_sent=message_id_sent,
        kind=event.kind,
        event=event.event,
        user_id=event.user_id,
        anonymous_id=event.anonymous_id,
        account_id=event.account_id,
        account_rule=event.account_rule,
        flags=event.flags,
        historical=event.historical,
        strict=strict,
    )
