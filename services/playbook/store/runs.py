"""Runs, their pinned definitions, and when their next steps are due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from libs.common.db import AsyncConnection, text
from libs.common.events import Band, Tier, decode, encode
from services.playbook.definitions import Playbook
from services.playbook.domain.runs import Finding, PastRun, Run
from services.playbook.store.keys import GIVEN_ACCOUNTS, Key, arrays, looked_up

_OPEN_RUN = (
    "workspace_id, account_id, run_id, CAST(definition AS text) AS definition, tier, "
    "CAST(finding AS text) AS finding, started_at, next_step_at, step"
)


@dataclass(frozen=True)
class DueStep:
    """The run's next step is due and nobody else is doing it."""

    workspace: int
    run_id: str
    due_at: datetime


def _open_run(row: Any) -> Run:
    return Run(
        run_id=str(row.run_id),
        playbook=Playbook.model_validate_json(row.definition),
        tier=Tier(row.tier),
        finding=cast(Finding, decode(row.finding.encode())),
        started_at=row.started_at,
        next_step_at=row.next_step_at,
        step=row.step,
    )


async def lock_open_runs(connection: AsyncConnection, keys: Collection[Key]) -> dict[Key, list[Run]]:
    """Open runs by account, locked until the transaction ends."""
    rows = await connection.execute(
        text(
            f"SELECT found.* FROM {GIVEN_ACCOUNTS} CROSS JOIN LATERAL (SELECT {_OPEN_RUN} FROM run "
            "WHERE run.workspace_id = given.workspace_id AND run.account_id = given.account_id AND state = 'open' "
            "ORDER BY run_id FOR UPDATE) AS found"
        ),
        arrays(keys),
    )
    found = defaultdict(list)
    for row in rows:
        found[row.workspace_id, row.account_id].append(_open_run(row))
    return found


async def load_last_runs(
    connection: AsyncConnection, keys: Collection[Key], playbooks: Collection[str]
) -> dict[Key, list[PastRun]]:
    """Of each account and playbook the run that ended last, by account in the order of the playbooks' names."""
    rows = await connection.execute(
        text(
            f"""
            SELECT given.*, asked.playbook, last.*
            FROM {GIVEN_ACCOUNTS}
            CROSS JOIN unnest(CAST(:playbooks AS text[])) AS asked (playbook)
            CROSS JOIN LATERAL (
                SELECT episode, finding ->> 'band' AS band, ended_at FROM run
                WHERE run.workspace_id = given.workspace_id AND run.account_id = given.account_id
                  AND run.playbook = asked.playbook AND state = 'ended'
                ORDER BY ended_at DESC, CAST(finding ->> 'account_version' AS bigint) DESC LIMIT 1
            ) AS last
            ORDER BY asked.playbook
            """
        ),
        {**arrays(keys), "playbooks": list(playbooks)},
    )
    found = defaultdict(list)
    for row in rows:
        band = None if row.band is None else Band(row.band)
        found[row.workspace_id, row.account_id].append(PastRun(row.playbook, row.episode, band, row.ended_at))
    return found


async def insert_runs(connection: AsyncConnection, runs: Sequence[Run]) -> set[str]:
    """The ids of those that were stored; open ones are scheduled. The others exist already, or their playbook has an
    open run for the account."""
    rows = await connection.execute(
        text(
            """
            INSERT INTO run (workspace_id, run_id, account_id, playbook, definition, tier, episode, finding, state,
                             step, next_step_at, started_at, ended_at, outcome)
            SELECT workspace_id, run_id, account_id, playbook, CAST(definition AS jsonb), tier, episode,
                   CAST(finding AS jsonb), CASE WHEN ended_at IS NULL THEN 'open' ELSE 'ended' END,
                   step, next_step_at, started_at, ended_at, outcome
            FROM unnest(CAST(:workspaces AS bigint[]), CAST(:ids AS uuid[]), CAST(:accounts AS text[]),
                        CAST(:playbooks AS text[]), CAST(:definitions AS text[]), CAST(:tiers AS text[]),
                        CAST(:episodes AS bigint[]), CAST(:findings AS text[]), CAST(:steps AS int[]),
                        CAST(:due AS timestamptz[]), CAST(:started AS timestamptz[]), CAST(:ended AS timestamptz[]),
                        CAST(:outcomes AS text[]))
                 AS given (workspace_id, run_id, account_id, playbook, definition, tier, episode, finding,
                           step, next_step_at, started_at, ended_at, outcome)
            ORDER BY 1, 2
            ON CONFLICT DO NOTHING
            RETURNING run_id
            """
        ),
        {
            "workspaces": [run.finding.workspace for run in runs],
            "ids": [run.run_id for run in runs],
            "accounts": [run.finding.account_id for run in runs],
            "playbooks": [run.playbook.name for run in runs],
            "definitions": [run.playbook.model_dump_json(exclude_none=True) for run in runs],
            "tiers": [run.tier.value for run in runs],
            "episodes": [run.finding.episode for run in runs],
            "findings": [encode(run.finding).decode() for run in runs],
            "steps": [run.step for run in runs],
            "due": [run.next_step_at for run in runs],
            "started": [run.started_at for run in runs],
            "ended": [run.ended_at for run in runs],
            "outcomes": [run.outcome.value if run.outcome else None for run in runs],
        },
    )
    stored = {str(row.run_id) for row in rows}
    await connection.execute(
        text(
            "INSERT INTO schedule (workspace_id, run_id, due_at) SELECT * FROM "
            "unnest(CAST(:workspaces AS bigint[]), CAST(:ids AS uuid[]), CAST(:due AS timestamptz[]))"
        ),
        {
            "workspaces": [run.finding.workspace for run in runs if run.is_open and run.run_id in stored],
            "ids": [run.run_id for run in runs if run.is_open and run.run_id in stored],
            "due": [run.next_step_at for run in runs if run.is_open and run.run_id in stored],
        },
    )
    return stored


async def save_runs(connection: AsyncConnection, runs: Sequence[Run]) -> None:
    """Store how far runs are, which the caller has locked, and when they go on."""
    given = {
        "workspaces": [run.finding.workspace for run in runs],
        "ids": [run.run_id for run in runs],
        "steps": [run.step for run in runs],
        "due": [run.next_step_at for run in runs],
        "ended": [run.ended_at for run in runs],
        "outcomes": [run.outcome.value if run.outcome else None for run in runs],
    }
    unnested = (
        "unnest(CAST(:workspaces AS bigint[]), CAST(:ids AS uuid[]), CAST(:steps AS int[]), "
        "CAST(:due AS timestamptz[]), CAST(:ended AS timestamptz[]), CAST(:outcomes AS text[])) "
        "AS given (workspace_id, run_id, step, next_step_at, ended_at, outcome)"
    )
    await connection.execute(
        text(
            "UPDATE run SET step = given.step, next_step_at = given.next_step_at, ended_at = given.ended_at, "
            "outcome = given.outcome, state = CASE WHEN given.ended_at IS NULL THEN 'open' ELSE 'ended' END "
            f"FROM {unnested} WHERE {looked_up('run', 'workspace_id', 'run_id')}"
        ),
        given,
    )
    await connection.execute(
        text(
            f"UPDATE schedule SET due_at = given.next_step_at FROM {unnested} "
            f"WHERE {looked_up('schedule', 'workspace_id', 'run_id')}"
        ),
        given,
    )
    await connection.execute(
        text(
            f"DELETE FROM schedule USING {unnested} "
            f"WHERE {looked_up('schedule', 'workspace_id', 'run_id')} AND given.ended_at IS NOT NULL"
        ),
        given,
    )


async def claim_due_step(connection: AsyncConnection, as_of: datetime, but_not: Sequence[str]) -> DueStep | None:
    """The step that has been due longest and that nobody else is doing; ours until the transaction ends.

    Sees all workspaces, names one run of one of them. ``but_not`` are runs to leave out.
    """
    row = (
        await connection.execute(
            text(
                "SELECT workspace_id, run_id, due_at FROM schedule WHERE due_at <= :as_of "
                "AND run_id <> ALL (CAST(:but_not AS uuid[])) ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED"
            ),
            {"as_of": as_of, "but_not": list(but_not)},
        )
    ).one_or_none()
    return None if row is None else DueStep(row.workspace_id, str(row.run_id), row.due_at)


async def take_open_run(connection: AsyncConnection, due: DueStep) -> Run | None:
    """The run of a claimed step, locked; None while a decision about it is being made."""
    row = (
        await connection.execute(
            text(
                f"SELECT {_OPEN_RUN} FROM run WHERE workspace_id = :workspace AND run_id = CAST(:run_id AS uuid) "
                "AND state = 'open' FOR UPDATE SKIP LOCKED"
            ),
            {"workspace": due.workspace, "run_id": due.run_id},
        )
    ).one_or_none()
    return None if row is None else _open_run(row)
