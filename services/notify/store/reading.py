"""The ledger as people read it: newest first, filtered, page by page."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.common.db import AsyncConnection, text
from services.notify.domain.delivery import Delivery
from services.notify.store.ledger import DELIVERY_COLUMNS, delivery_from


@dataclass(frozen=True)
class LedgerEntry:
    """A delivery with what came of it. ``not_before`` and ``waiting_for`` are None once it is settled; ``seq`` is its
    place in the ledger."""

    seq: int
    delivery: Delivery
    reason: str | None
    provider_id: str | None
    last_problem: str | None
    not_before: datetime | None
    waiting_for: str | None
    attempted_at: datetime | None
    accepted_at: datetime | None
    settled_at: datetime | None


_SELECT = (
    f"SELECT {DELIVERY_COLUMNS}, d.seq, d.reason, d.provider_id, d.last_problem, d.attempted_at, d.accepted_at, "
    "d.settled_at, s.not_before, s.waiting_for FROM delivery d LEFT JOIN schedule s "
    "ON s.workspace_id = d.workspace_id AND s.delivery_id = d.delivery_id WHERE d.workspace_id = :workspace "
)


async def entries(
    connection: AsyncConnection,
    workspace: int,
    *,
    account: str | None,
    state: str | None,
    channel: str | None,
    before: int | None,
    limit: int,
) -> Sequence[LedgerEntry]:
    """At most ``limit`` entries, newest first, older than the one with the number ``before``."""
    rows = await connection.execute(
        text(
            f"{_SELECT} AND (CAST(:account AS text) IS NULL OR d.account_id = :account) "
            "AND (CAST(:state AS text) IS NULL OR d.state = :state) "
            "AND (CAST(:channel AS text) IS NULL OR d.channel = :channel) "
            "AND (CAST(:before AS bigint) IS NULL OR d.seq < :before) ORDER BY d.seq DESC LIMIT :limit"
        ),
        {
            "workspace": workspace,
            "account": account,
            "state": state,
            "channel": channel,
            "before": before,
            "limit": limit,
        },
    )
    return [_entry(row) for row in rows]


async def entry(connection: AsyncConnection, workspace: int, delivery_id: uuid.UUID) -> LedgerEntry | None:
    row = (
        await connection.execute(
            text(f"{_SELECT} AND d.delivery_id = :id"), {"workspace": workspace, "id": delivery_id}
        )
    ).one_or_none()
    return _entry(row) if row is not None else None


def _entry(row: Any) -> LedgerEntry:
    return LedgerEntry(
        seq=row.seq,
        delivery=delivery_from(row),
        reason=row.reason,
        provider_id=row.provider_id,
        last_problem=row.last_problem,
        not_before=row.not_before,
        waiting_for=row.waiting_for,
        attempted_at=row.attempted_at,
        accepted_at=row.accepted_at,
        settled_at=row.settled_at,
    )
