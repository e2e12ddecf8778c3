"""The ledger as people read it: newest first, filtered, page by page."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from libs.common.db import AsyncConnection, text
from libs.common.events import Channel
from services.notify.domain.delivery import Delivery, State
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


_COLUMNS = (
    f"{DELIVERY_COLUMNS}, d.seq, d.reason, d.provider_id, d.last_problem, d.attempted_at, d.accepted_at, "
    "d.settled_at, s.not_before, s.waiting_for"
)
_WITH_SCHEDULE = (
    "LEFT JOIN schedule s ON s.workspace_id = :workspace AND s.delivery_id = ANY (ARRAY[d.delivery_id])"  # see ledger
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
    # For each set of conditions there is one index that has the page in one piece. "Or nothing was asked" in a
    # condition fits none of them, and neither do several states or channels at once.
    older = "AND seq < :before " if before is not None else ""
    if account is not None:
        of_account = "AND account_id = :account AND state = ANY (CAST(:states AS text[])) "
        of_account += "AND channel = ANY (CAST(:channels AS text[])) "
        chosen = f"SELECT seq, delivery_id FROM delivery WHERE workspace_id = :workspace {of_account}{older}"
    elif state is None and channel is None:
        chosen = f"SELECT seq, delivery_id FROM delivery WHERE workspace_id = :workspace {older}"
    else:
        chosen = (
            "SELECT found.seq, found.delivery_id FROM unnest(CAST(:states AS text[])) AS a (state) "
            "CROSS JOIN unnest(CAST(:channels AS text[])) AS b (channel) CROSS JOIN LATERAL ("
            "SELECT seq, delivery_id FROM delivery WHERE workspace_id = :workspace AND state = a.state "
            f"AND channel = b.channel {older} ORDER BY seq DESC LIMIT :limit) AS found "
        )
    rows = await connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM ({chosen} ORDER BY seq DESC LIMIT :limit) AS chosen JOIN delivery d "
            "ON d.workspace_id = :workspace AND d.delivery_id = ANY (ARRAY[chosen.delivery_id]) "
            f"{_WITH_SCHEDULE} ORDER BY d.seq DESC"
        ),
        {
            "workspace": workspace,
            "account": account,
            "states": list(State) if state is None else [state],
            "channels": list(Channel) if channel is None else [channel],
            "before": before,
            "limit": limit,
        },
    )
    return [_entry(row) for row in rows]


async def entry(connection: AsyncConnection, workspace: int, delivery_id: uuid.UUID) -> LedgerEntry | None:
    row = (
        await connection.execute(
            text(
                f"SELECT {_COLUMNS} FROM delivery d {_WITH_SCHEDULE} "
                "WHERE d.workspace_id = :workspace AND d.delivery_id = :id"
            ),
            {"workspace": workspace, "id": delivery_id},
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
