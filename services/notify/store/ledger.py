"""The ledger's rows, their schedule and their lanes. Locks are always taken in the order schedule, lane, delivery.

Every change says which state and attempt it starts from: whoever comes too late changes nothing and is told so.

``= ANY (ARRAY[one])`` is how a few rows are looked up in a large table: a plain ``=`` between two tables can be hashed
and merged too, and PostgreSQL would sooner or later read all of the large one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from libs.common.db import AsyncConnection, see_workspaces, text
from libs.common.events import Channel, TouchCancelled, TouchFacts, TouchRequested
from libs.common.ownership import lock_number
from services.notify.domain.delivery import EXPIRES_AFTER, Delivery, State, Waiting, delivery_id

DELIVERY_COLUMNS = (
    "d.workspace_id, d.delivery_id, d.dedupe_key, d.account_id, d.run_id, d.playbook, d.tier, d.channel, d.target, "
    "d.template, CAST(d.facts AS text) AS facts, d.state, d.attempt, d.doubtful, d.cancelled, d.requested_at, "
    "d.fresh_until, d.due_at, d.created_at, d.expires_at, d.lease_until"
)
MOVABLE = ("turn", "retry", "channel", "hourly_cap")
"""What a delivery that has not left may wait for; the others are moments at which something is found out."""
MOVED_AT_ONCE = 1000
"""So many deliveries one that meets a used-up cap puts off with it."""


@dataclass(frozen=True)
class Due:
    """A delivery whose rows are locked until the transaction ends.

    ``now`` is real time by the database's clock, which all processes share. ``place`` is what the provider calls the
    lane's target, ``channel_failures`` how often in a row it could not be reached.
    """

    delivery: Delivery
    lane: int
    now: datetime
    place: str | None = None
    channel_failures: int = 0


# --- from touches ---


async def accept(
    connection: AsyncConnection, touches: Sequence[TouchRequested], lane_of: Callable[[TouchRequested], str]
) -> int:
    """Write a delivery for each touch that is not in the ledger yet, due now. The answer is how many were new."""
    rows = await connection.execute(
        text(
            "INSERT INTO delivery (workspace_id, delivery_id, dedupe_key, account_id, run_id, playbook, tier, channel, "
            "target, template, facts, state, cancelled, requested_at, fresh_until, due_at, expires_at) "
            "SELECT g.workspace_id, g.delivery_id, g.dedupe_key, g.account_id, g.run_id, g.playbook, g.tier, "
            "g.channel, g.target, g.template, CAST(g.facts AS jsonb), 'pending', c.touch_id IS NOT NULL, "
            "g.requested_at, g.fresh_until, g.due_at, now() + CAST(:expires_after AS interval) "
            "FROM unnest(CAST(:workspaces AS bigint[]), CAST(:ids AS uuid[]), CAST(:touches AS text[]), "
            "CAST(:accounts AS text[]), CAST(:runs AS text[]), CAST(:playbooks AS text[]), CAST(:tiers AS text[]), "
            "CAST(:channels AS text[]), CAST(:targets AS text[]), CAST(:templates AS text[]), CAST(:facts AS text[]), "
            "CAST(:requested AS timestamptz[]), CAST(:fresh AS timestamptz[]), CAST(:due AS timestamptz[])) "
            "WITH ORDINALITY AS g (workspace_id, delivery_id, dedupe_key, account_id, run_id, playbook, tier, channel, "
            "target, template, facts, requested_at, fresh_until, due_at, n) "
            "LEFT JOIN cancellation c "
            "ON c.workspace_id = ANY (ARRAY[g.workspace_id]) AND c.touch_id = ANY (ARRAY[g.dedupe_key]) "
            "ORDER BY g.n ON CONFLICT (workspace_id, dedupe_key) DO NOTHING RETURNING workspace_id, dedupe_key"
        ),
        {
            "expires_after": EXPIRES_AFTER,
            "workspaces": [touch.workspace for touch in touches],
            "ids": [delivery_id(touch.workspace, touch.id) for touch in touches],
            "touches": [touch.id for touch in touches],
            "accounts": [touch.account_id for touch in touches],
            "runs": [touch.run_id for touch in touches],
            "playbooks": [touch.playbook for touch in touches],
            "tiers": [touch.tier.value for touch in touches],
            "channels": [touch.channel.value for touch in touches],
            "targets": [touch.recipient for touch in touches],
            "templates": [touch.template for touch in touches],
            "facts": [msgspec.json.encode(touch.facts).decode() for touch in touches],
            "requested": [touch.requested_at for touch in touches],
            "fresh": [touch.fresh_until for touch in touches],
            "due": [touch.due_at for touch in touches],
        },
    )
    written = {(row.workspace_id, row.dedupe_key) for row in rows}
    given = {(touch.workspace, touch.id): touch for touch in reversed(touches)}  # the first of equals, as inserted
    new = [touch for key, touch in reversed(given.items()) if key in written]
    lanes = [lock_number(f"lane {touch.channel} {lane_of(touch)}") for touch in new]
    await connection.execute(
        text(
            "INSERT INTO lane (lane) SELECT DISTINCT n FROM unnest(CAST(:lanes AS bigint[])) AS n ORDER BY n "
            "ON CONFLICT DO NOTHING"
        ),
        {"lanes": lanes},
    )
    await connection.execute(
        text(
            "INSERT INTO schedule (workspace_id, delivery_id, channel, lane, account) "
            "SELECT workspace_id, delivery_id, channel, lane, account FROM unnest(CAST(:workspaces AS bigint[]), "
            "CAST(:ids AS uuid[]), CAST(:channels AS text[]), CAST(:lanes AS bigint[]), CAST(:accounts AS bigint[])) "
            "WITH ORDINALITY AS g (workspace_id, delivery_id, channel, lane, account, n) ORDER BY n"
        ),
        {
            "workspaces": [touch.workspace for touch in new],
            "ids": [delivery_id(touch.workspace, touch.id) for touch in new],
            "channels": [touch.channel.value for touch in new],
            "lanes": lanes,
            "accounts": [lock_number(f"account {touch.workspace} {touch.account_id}") for touch in new],
        },
    )
    return len(new)


async def cancel(connection: AsyncConnection, cancelled: Sequence[TouchCancelled]) -> None:
    """Mark what has not left the house, and let the sender see to it now. A touch that is not in the ledger is
    remembered, in case its request comes later."""
    given = {
        "workspaces": [one.workspace for one in cancelled],
        "touches": [one.touch_id for one in cancelled],
        "ids": [delivery_id(one.workspace, one.touch_id) for one in cancelled],
        "movable": list(MOVABLE),
    }
    # Which rows are meant is not said by conditions: for one that few rows meet, all would be read to find those few.
    await connection.execute(
        text(
            "UPDATE schedule s SET not_before = "
            "CASE WHEN s.waiting_for = ANY (CAST(:movable AS text[])) THEN now() ELSE s.not_before END "
            "FROM unnest(CAST(:workspaces AS bigint[]), CAST(:ids AS uuid[])) AS g (workspace_id, delivery_id) "
            "WHERE s.workspace_id = ANY (ARRAY[g.workspace_id]) AND s.delivery_id = ANY (ARRAY[g.delivery_id])"
        ),
        given,
    )
    await connection.execute(
        text(
            "UPDATE delivery d SET cancelled = d.cancelled OR d.settled_at IS NULL "
            "FROM unnest(CAST(:workspaces AS bigint[]), CAST(:touches AS text[])) AS g (workspace_id, touch_id) "
            "WHERE d.workspace_id = ANY (ARRAY[g.workspace_id]) AND d.dedupe_key = ANY (ARRAY[g.touch_id])"
        ),
        given,
    )
    await connection.execute(
        text(
            "INSERT INTO cancellation (workspace_id, touch_id) SELECT g.workspace_id, g.touch_id "
            "FROM unnest(CAST(:workspaces AS bigint[]), CAST(:touches AS text[])) AS g (workspace_id, touch_id) "
            "WHERE NOT EXISTS (SELECT FROM delivery d WHERE d.workspace_id = ANY (ARRAY[g.workspace_id]) "
            "AND d.dedupe_key = ANY (ARRAY[g.touch_id])) ON CONFLICT DO NOTHING"
        ),
        given,
    )


# --- for the sender ---

LOOKED_AT_FIRST = 100
"""So many of the deliveries that are due are looked at in order. When none of them may go and more are due, the lanes
are: else each look at a queue behind one lane would read the whole queue."""
_DUE = "schedule WHERE channel = :channel AND not_before <= now()"
# OFFSET 0 has it looked up for each: it could be joined with the whole schedule.
_OTHERS_FIRST = (
    "EXISTS (SELECT FROM schedule earlier WHERE earlier.lane = s.lane AND earlier.account = s.account "
    "AND earlier.seq < s.seq OFFSET 0)"
)
# Moments are compared with clock_timestamp, of which the planner expects nothing: told that nothing is due, it would
# rather read what is than look candidates up.
_LOCK_THE_FIRST = f"""
SELECT s.workspace_id, s.delivery_id, s.lane, l.place, l.failures, clock_timestamp() AS now
FROM candidate JOIN schedule s ON s.seq = ANY (ARRAY[candidate.seq]) JOIN lane l ON l.lane = ANY (ARRAY[s.lane])
WHERE s.not_before <= clock_timestamp() AND l.not_before <= clock_timestamp() AND NOT {_OTHERS_FIRST}
ORDER BY candidate.not_before, candidate.seq LIMIT 1 FOR UPDATE OF s, l SKIP LOCKED
"""
_DUE_IN_ORDER = f"""
WITH candidate AS (SELECT seq, not_before FROM {_DUE} ORDER BY not_before, seq LIMIT {LOOKED_AT_FIRST})
{_LOCK_THE_FIRST}
"""
# ``occupied`` goes from one lane that something waits for to the next; of each that is free the first is a candidate.
# All three orders are that of one index; BETWEEN keeps the lane in the last one, where ``=`` would let others in.
_DUE_BY_LANE = f"""
WITH RECURSIVE occupied AS (
    (SELECT lane FROM schedule WHERE channel = :channel
        AND EXISTS (SELECT FROM {_DUE} ORDER BY not_before, seq OFFSET {LOOKED_AT_FIRST})
        ORDER BY lane, not_before, seq LIMIT 1)
    UNION ALL
    SELECT following.lane FROM occupied CROSS JOIN LATERAL (
        SELECT lane FROM schedule WHERE channel = :channel AND lane > occupied.lane
        ORDER BY lane, not_before, seq LIMIT 1
    ) AS following
), candidate AS (
    SELECT head.* FROM occupied JOIN lane ON lane.lane = ANY (ARRAY[occupied.lane]) CROSS JOIN LATERAL (
        SELECT seq, not_before FROM schedule s
        WHERE channel = :channel AND s.lane BETWEEN occupied.lane AND occupied.lane AND s.not_before <= now()
            AND NOT {_OTHERS_FIRST}
        ORDER BY s.lane, not_before, seq LIMIT 1
    ) AS head
    WHERE lane.not_before <= clock_timestamp()
)
{_LOCK_THE_FIRST}
"""


async def next_due(connection: AsyncConnection, channel: Channel) -> Due | None:
    """The delivery that has been due for longest in a lane that is free, its rows locked, its workspace visible.

    One at a time per lane, and within a lane in order per account: later news of an account never overtakes earlier.
    """
    found = (await connection.execute(text(_DUE_IN_ORDER), {"channel": channel.value})).one_or_none()
    if found is None:
        found = (await connection.execute(text(_DUE_BY_LANE), {"channel": channel.value})).one_or_none()
    if found is None:
        return None
    await see_workspaces(connection, [found.workspace_id])
    row = (
        await connection.execute(
            text(
                f"SELECT {DELIVERY_COLUMNS} FROM delivery d "
                "WHERE workspace_id = :workspace AND delivery_id = :id FOR UPDATE"
            ),
            {"workspace": found.workspace_id, "id": found.delivery_id},
        )
    ).one()
    return Due(delivery_from(row), found.lane, found.now, found.place, found.failures)


async def hold(connection: AsyncConnection, delivery: Delivery) -> Due | None:
    """Lock a delivery's rows again; None when it is not in the same state and attempt any more.

    The connection sees its workspace already.
    """
    found = (
        await connection.execute(
            text(
                "SELECT s.lane, l.place, l.failures, clock_timestamp() AS now FROM schedule s "
                "JOIN lane l ON l.lane = s.lane "
                "WHERE s.workspace_id = :workspace AND s.delivery_id = :id FOR UPDATE OF s, l"
            ),
            {"workspace": delivery.workspace, "id": delivery.id},
        )
    ).one_or_none()
    if found is None:
        return None
    row = (
        await connection.execute(
            text(
                f"SELECT {DELIVERY_COLUMNS} FROM delivery d WHERE workspace_id = :workspace AND delivery_id = :id "
                "AND state = :state AND attempt = :attempt FOR UPDATE"
            ),
            _which(delivery),
        )
    ).one_or_none()
    return Due(delivery_from(row), found.lane, found.now, found.place, found.failures) if row is not None else None


async def begin_sending(connection: AsyncConnection, due: Due, *, doubtful: int, lease: timedelta) -> Delivery:
    """The delivery as it is from now on: ``sending``, a new attempt, its lane taken until the lease ends."""
    row = (
        await connection.execute(
            text(
                "UPDATE delivery d SET state = 'sending', attempt = attempt + 1, doubtful = :doubtful, "
                "attempted_at = now(), lease_until = now() + CAST(:lease AS interval) "
                "WHERE workspace_id = :workspace AND delivery_id = :id AND state = :state AND attempt = :attempt "
                f"RETURNING {DELIVERY_COLUMNS}"
            ),
            {**_which(due.delivery), "doubtful": doubtful, "lease": lease},
        )
    ).one()
    sending = delivery_from(row)
    await reschedule(connection, sending, row.lease_until, Waiting.LEASE)
    await connection.execute(
        text("UPDATE lane SET not_before = :until, holder = :holder WHERE lane = :lane"),
        {"lane": due.lane, "until": row.lease_until, "holder": _holder(sending)},
    )
    return sending


async def reschedule(connection: AsyncConnection, delivery: Delivery, until: datetime, why: Waiting) -> None:
    """Same state, later."""
    await connection.execute(
        text(
            "UPDATE schedule SET not_before = :until, waiting_for = :why "
            "WHERE workspace_id = :workspace AND delivery_id = :id"
        ),
        {"workspace": delivery.workspace, "id": delivery.id, "until": until, "why": why.value},
    )


async def lose_sight(connection: AsyncConnection, delivery: Delivery, until: datetime, problem: str) -> None:
    """``sending`` becomes ``unknown``, to be settled at ``until``."""
    await connection.execute(
        text(
            "UPDATE delivery SET state = 'unknown', last_problem = :problem "
            "WHERE workspace_id = :workspace AND delivery_id = :id AND state = :state AND attempt = :attempt"
        ),
        {**_which(delivery), "problem": problem},
    )
    await reschedule(connection, delivery, until, Waiting.OUTCOME)


async def try_again(
    connection: AsyncConnection,
    delivery: Delivery,
    *,
    until: datetime,
    why: Waiting,
    doubtful: int,
    problem: str | None,
) -> None:
    """It certainly is not there, or we chose to send it all the same: ``pending`` again."""
    await connection.execute(
        text(
            "UPDATE delivery SET state = 'pending', doubtful = :doubtful, "
            "last_problem = coalesce(CAST(:problem AS text), last_problem) "
            "WHERE workspace_id = :workspace AND delivery_id = :id AND state = :state AND attempt = :attempt"
        ),
        {**_which(delivery), "doubtful": doubtful, "problem": problem},
    )
    await reschedule(connection, delivery, until, why)


async def settle(
    connection: AsyncConnection,
    delivery: Delivery,
    state: State,
    *,
    doubtful: int,
    reason: str | None = None,
    provider_id: str | None = None,
    accepted_at: datetime | None = None,
) -> None:
    """The final state. ``accepted_at`` is real time."""
    await connection.execute(
        text(
            "UPDATE delivery SET state = :final, reason = :reason, provider_id = :provider_id, doubtful = :doubtful, "
            "accepted_at = :accepted_at, settled_at = now(), lease_until = NULL "
            "WHERE workspace_id = :workspace AND delivery_id = :id AND state = :state AND attempt = :attempt"
        ),
        {
            **_which(delivery),
            "final": state.value,
            "reason": reason,
            "provider_id": provider_id,
            "doubtful": doubtful,
            "accepted_at": accepted_at,
        },
    )
    await connection.execute(
        text("DELETE FROM schedule WHERE workspace_id = :workspace AND delivery_id = :id"),
        {"workspace": delivery.workspace, "id": delivery.id},
    )


async def free_lane(
    connection: AsyncConnection, due: Due, *, until: datetime, failures: int, place: str | None = None
) -> None:
    """Let the next message of the lane go at ``until``, unless another attempt has taken the lane meanwhile."""
    await connection.execute(
        text(
            "UPDATE lane SET not_before = :until, failures = :failures, holder = NULL, "
            "place = coalesce(CAST(:place AS text), place) WHERE lane = :lane AND holder = :holder"
        ),
        {"lane": due.lane, "until": until, "failures": failures, "place": place, "holder": _holder(due.delivery)},
    )


async def wait_for_cap(connection: AsyncConnection, workspace: int, channel: Channel, until: datetime) -> None:
    """What of this workspace's channel has not left is not due before ``until``: one statement for many of them.

    Rows that somebody is working on are left out, and so are those beyond MOVED_AT_ONCE; they will come here by
    themselves.
    """
    await connection.execute(
        text(
            "UPDATE schedule SET not_before = :until, waiting_for = 'hourly_cap' WHERE seq = ANY (ARRAY("
            "SELECT seq FROM schedule WHERE workspace_id = :workspace AND channel = :channel AND not_before < :until "
            "AND waiting_for = ANY (CAST(:movable AS text[])) "
            f"ORDER BY not_before LIMIT {MOVED_AT_ONCE} FOR UPDATE SKIP LOCKED))"
        ),
        {"workspace": workspace, "channel": channel.value, "until": until, "movable": list(MOVABLE)},
    )


def _which(delivery: Delivery) -> dict[str, Any]:
    return {
        "workspace": delivery.workspace,
        "id": delivery.id,
        "state": delivery.state.value,
        "attempt": delivery.attempt,
    }


def _holder(delivery: Delivery) -> str:
    return f"{delivery.id}/{delivery.attempt}"


def delivery_from(row: Any) -> Delivery:
    """From a row with DELIVERY_COLUMNS."""
    return Delivery(
        workspace=row.workspace_id,
        id=row.delivery_id,
        touch_id=row.dedupe_key,
        account_id=row.account_id,
        run_id=row.run_id,
        playbook=row.playbook,
        tier=row.tier,
        channel=Channel(row.channel),
        target=row.target,
        template=row.template,
        facts=msgspec.json.decode(row.facts, type=TouchFacts),
        state=State(row.state),
        attempt=row.attempt,
        doubtful=row.doubtful,
        cancelled=row.cancelled,
        requested_at=row.requested_at,
        fresh_until=row.fresh_until,
        due_at=row.due_at,
        created_at=row.created_at,
        expires_at=row.expires_at,
        lease_until=row.lease_until,
    )
