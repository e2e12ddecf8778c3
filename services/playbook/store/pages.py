"""What the HTTP API shows, a page at a time; every statement runs with one workspace visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from libs.common.db import AsyncConnection, text
from services.playbook.store.keys import looked_up


@dataclass(frozen=True)
class EntryPlace:
    """The last entry of the page before; entries are ordered newest first."""

    at: datetime
    n: int


@dataclass(frozen=True)
class RunPlace:
    """The last run of the page before; runs are ordered newest first."""

    started_at: datetime
    run_id: UUID


async def account_is_known(connection: AsyncConnection, workspace: int, account_id: str) -> bool:
    """Whether a snapshot of it or anything about it has arrived."""
    found = await connection.execute(
        text(
            "SELECT EXISTS (SELECT FROM account WHERE workspace_id = :workspace AND account_id = :account) "
            "OR EXISTS (SELECT FROM timeline_entry WHERE workspace_id = :workspace AND account_id = :account)"
        ),
        {"workspace": workspace, "account": account_id},
    )
    return bool(found.scalar_one())


async def timeline_page(
    connection: AsyncConnection, workspace: int, account_id: str, after: EntryPlace | None, limit: int
) -> Sequence[Any]:
    """Rows of at, n, kind, title, details."""
    rows = await connection.execute(
        text(
            "SELECT at, n, kind, title, details FROM timeline_entry "
            "WHERE workspace_id = :workspace AND account_id = :account "
            "AND (CAST(:at AS timestamptz) IS NULL OR (at, n) < (CAST(:at AS timestamptz), CAST(:n AS bigint))) "
            "ORDER BY at DESC, n DESC LIMIT :limit"
        ),
        {
            "workspace": workspace,
            "account": account_id,
            "at": after.at if after else None,
            "n": after.n if after else None,
            "limit": limit,
        },
    )
    return rows.all()


async def runs_page(
    connection: AsyncConnection,
    workspace: int,
    *,
    state: str | None,
    playbook: str | None,
    account_id: str | None,
    after: RunPlace | None,
    limit: int,
) -> Sequence[Any]:
    """Rows of ``run``; ``definition`` is decoded JSON."""
    # For each set of conditions there is one index that has the page in one piece. "Or nothing was asked" in a
    # condition fits none of them, and neither does every state at once.
    asked = "AND playbook = :playbook " if playbook is not None else ""
    asked += "AND account_id = :account " if account_id is not None else ""
    asked += "AND (started_at, run_id) < (CAST(:at AS timestamptz), CAST(:run_id AS uuid)) " if after else ""
    rows = await connection.execute(
        text(
            "SELECT found.* FROM unnest(CAST(:states AS text[])) AS given (state) CROSS JOIN LATERAL ("
            "SELECT run_id, account_id, playbook, definition, tier, state, step, next_step_at, started_at, ended_at, "
            f"outcome FROM run WHERE workspace_id = :workspace AND run.state = given.state {asked}"
            "ORDER BY started_at DESC, run_id DESC LIMIT :limit) AS found "
            "ORDER BY found.started_at DESC, found.run_id DESC LIMIT :limit"
        ),
        {
            "workspace": workspace,
            "states": ["open", "ended"] if state is None else [state],
            "playbook": playbook,
            "account": account_id,
            "at": after.started_at if after else None,
            "run_id": after.run_id if after else None,
            "limit": limit,
        },
    )
    return rows.all()


async def touches_of(connection: AsyncConnection, workspace: int, run_ids: Sequence[UUID]) -> Sequence[Any]:
    """Rows of ``touch``, by run in the order of their steps."""
    rows = await connection.execute(
        text(
            "SELECT touch_id, touch.run_id, step, channel, recipient, template, state, reason, requested_at, "
            "settled_at FROM unnest(CAST(:runs AS uuid[])) AS given (run_id) "
            f"JOIN touch ON workspace_id = :workspace AND {looked_up('touch', 'run_id')} "
            "ORDER BY run_id, step, requested_at, touch_id"
        ),
        {"workspace": workspace, "runs": list(run_ids)},
    )
    return rows.all()
