"""Touches: what was asked of notify, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from libs.common.db import AsyncConnection, text
from libs.common.events import TouchCancelled, TouchRequested, derived_id
from services.playbook.domain.runs import Ended
from services.playbook.domain.touches import Settlement, TouchState
from services.playbook.store.keys import looked_up


async def insert_touches(connection: AsyncConnection, touches: Sequence[TouchRequested]) -> None:
    await connection.execute(
        text(
            """
            INSERT INTO touch (workspace_id, touch_id, run_id, account_id, step, channel, recipient, template, state,
                               requested_at)
            SELECT workspace_id, touch_id, run_id, account_id, step, channel, recipient, template, 'requested', at
            FROM unnest(CAST(:workspaces AS bigint[]), CAST(:ids AS uuid[]), CAST(:runs AS uuid[]),
                        CAST(:accounts AS text[]), CAST(:steps AS int[]), CAST(:channels AS text[]),
                        CAST(:recipients AS text[]), CAST(:templates AS text[]), CAST(:at AS timestamptz[]))
                 AS given (workspace_id, touch_id, run_id, account_id, step, channel, recipient, template, at)
            """
        ),
        {
            "workspaces": [touch.workspace for touch in touches],
            "ids": [touch.id for touch in touches],
            "runs": [touch.run_id for touch in touches],
            "accounts": [touch.account_id for touch in touches],
            "steps": [touch.step for touch in touches],
            "channels": [touch.channel.value for touch in touches],
            "recipients": [touch.recipient for touch in touches],
            "templates": [touch.template for touch in touches],
            "at": [touch.requested_at for touch in touches],
        },
    )


async def cancel_unsent(connection: AsyncConnection, ended: Mapping[str, Ended]) -> list[TouchCancelled]:
    """Take back the touches of these runs (by run id) of which no result is known. Notify may have sent one already;
    then its result replaces the cancellation."""
    rows = await connection.execute(
        text(
            f"""
            WITH locked AS (
                SELECT touch.workspace_id, touch_id, state FROM touch
                JOIN unnest(CAST(:workspaces AS bigint[]), CAST(:runs AS uuid[])) AS given (workspace_id, run_id)
                     ON {looked_up("touch", "workspace_id", "run_id")}
                ORDER BY 1, 2 FOR UPDATE OF touch
            )
            UPDATE touch SET state = 'cancelled' FROM locked
            WHERE locked.state = 'requested' AND {looked_up("touch", "workspace_id", "touch_id", by="locked")}
            RETURNING touch.workspace_id, touch.account_id, touch.touch_id, touch.run_id
            """
        ),
        {"workspaces": [end.run.finding.workspace for end in ended.values()], "runs": list(ended)},
    )
    return [
        TouchCancelled(
            workspace=row.workspace_id,
            account_id=row.account_id,
            id=derived_id(row.workspace_id, row.account_id, "touch cancelled", str(row.touch_id)),
            touch_id=str(row.touch_id),
            reason=ended[str(row.run_id)].words,
        )
        for row in sorted(rows, key=lambda row: (row.workspace_id, row.touch_id))
    ]


async def settle(connection: AsyncConnection, settled: Sequence[Settlement]) -> None:
    """Store what became of touches, each of them once and in order; a lower state never replaces a higher one."""
    await connection.execute(
        text(
            f"""
            WITH given AS MATERIALIZED (
                SELECT * FROM unnest(CAST(:workspaces AS bigint[]), CAST(:touches AS uuid[]), CAST(:states AS text[]),
                                     CAST(:reasons AS text[]), CAST(:provider_ids AS text[]),
                                     CAST(:at AS timestamptz[]))
                    AS given (workspace_id, touch_id, state, reason, provider_id, at)
            ), locked AS MATERIALIZED (
                SELECT touch.workspace_id, touch.touch_id FROM touch
                JOIN given ON {looked_up("touch", "workspace_id", "touch_id")}
                ORDER BY 1, 2 FOR UPDATE OF touch
            )
            UPDATE touch SET state = given.state, reason = given.reason, provider_id = given.provider_id,
                             settled_at = given.at
            FROM given JOIN locked USING (workspace_id, touch_id)
            WHERE {looked_up("touch", "workspace_id", "touch_id")}
              AND array_position(CAST(:ranks AS text[]), touch.state)
                < array_position(CAST(:ranks AS text[]), given.state)
            """
        ),
        {
            "ranks": [state.value for state in TouchState],
            "workspaces": [one.workspace for one in settled],
            "touches": [one.touch_id for one in settled],
            "states": [one.state.value for one in settled],
            "reasons": [one.reason for one in settled],
            "provider_ids": [one.provider_id for one in settled],
            "at": [one.at for one in settled],
        },
    )
