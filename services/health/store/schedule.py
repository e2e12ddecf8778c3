"""The schedule: which account is due when, one row each, updated by the score worker alone. A table across
workspaces, and the frontier: the time up to which everything has been read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from libs.common.db import AsyncConnection, text
from libs.common.topics import PARTITIONS, Topic
from services.health.tally import Lane

_ROWS_LOOKED_AT = 2000


class AccountKey(NamedTuple):
    workspace: int
    account: str


@dataclass(frozen=True)
class Frontier:
    """Domain time up to which everything that was accepted has been read, None while that is not known.

    ``live`` of the live topic alone, ``everything`` of imported history too. Live news waits only for the former,
    else a backfill would starve it; what time alone brings about waits for both.
    """

    live: datetime | None
    everything: datetime | None


@dataclass(frozen=True)
class Claimed:
    """The account's schedule row, which is ours until the transaction ends."""

    due_at: datetime | None
    publish_at: datetime | None


async def frontier(connection: AsyncConnection, now: datetime) -> Frontier:
    """``now`` is domain time; nothing is ever known beyond it."""
    rows = await connection.execute(
        text(
            "SELECT topic, min(caught_up_to) AS reached, count(caught_up_to) AS known FROM consumer_position "
            "WHERE topic = ANY (CAST(:topics AS text[])) GROUP BY topic"
        ),
        {"topics": [Topic.TELEMETRY.value, Topic.TELEMETRY_IMPORT.value]},
    )
    reached = {row.topic: min(row.reached, now) for row in rows if row.known == PARTITIONS}
    live, imported = reached.get(Topic.TELEMETRY), reached.get(Topic.TELEMETRY_IMPORT)
    return Frontier(live=live, everything=min(live, imported) if live and imported else None)


async def ensure(connection: AsyncConnection, accounts: Iterable[AccountKey]) -> None:
    """Make a row for each account that has none."""
    rows = sorted(set(accounts))
    if rows:
        await connection.execute(
            text(
                "INSERT INTO schedule (workspace_id, account_id) SELECT * FROM "
                "unnest(CAST(:workspaces AS bigint[]), CAST(:accounts AS text[])) ON CONFLICT DO NOTHING"
            ),
            {"workspaces": [row.workspace for row in rows], "accounts": [row.account for row in rows]},
        )


async def with_news(
    connection: AsyncConnection, lane: Lane, as_of: datetime, settles: timedelta, most: int
) -> list[AccountKey]:
    """Accounts whose first news in ``lane`` is older than ``settles`` (real time) and whose facts lie at or before
    ``as_of`` (domain time), oldest first."""
    rows = await connection.execute(
        text(
            f"""
            SELECT workspace_id, account_id FROM (
                SELECT workspace_id, account_id, since FROM dirty d
                WHERE lane = :lane AND until <= :as_of AND since <= clock_timestamp() - CAST(:settles AS interval)
                    AND NOT EXISTS (
                        SELECT FROM schedule s WHERE s.workspace_id = d.workspace_id AND s.account_id = d.account_id
                            AND s.not_before > clock_timestamp()
                    )
                ORDER BY until LIMIT {_ROWS_LOOKED_AT}
            ) AS news
            GROUP BY workspace_id, account_id ORDER BY min(since) LIMIT :most
            """
        ),
        {"lane": lane, "as_of": as_of, "settles": settles, "most": most},
    )
    return [AccountKey(row.workspace_id, row.account_id) for row in rows]


async def due(connection: AsyncConnection, as_of: datetime, most: int) -> list[AccountKey]:
    """Accounts whose own moment has come, and those that owe the world a newer score, longest due first."""
    rows = await connection.execute(
        text(
            """
            (SELECT workspace_id, account_id FROM schedule
             WHERE due_at <= :as_of AND not_before <= clock_timestamp() ORDER BY due_at LIMIT :most)
            UNION ALL
            (SELECT workspace_id, account_id FROM schedule
             WHERE publish_at <= clock_timestamp() AND not_before <= clock_timestamp() ORDER BY publish_at LIMIT :most)
            """
        ),
        {"as_of": as_of, "most": most},
    )
    return [AccountKey(row.workspace_id, row.account_id) for row in rows]


async def claim(connection: AsyncConnection, key: AccountKey) -> Claimed | None:
    """Make the account ours until the transaction ends; None when another worker has it."""
    row = (
        await connection.execute(
            text(
                "SELECT due_at, publish_at FROM schedule "
                "WHERE workspace_id = :workspace AND account_id = :account FOR UPDATE SKIP LOCKED"
            ),
            key._asdict(),
        )
    ).one_or_none()
    return Claimed(due_at=row.due_at, publish_at=row.publish_at) if row else None


async def set_next(
    connection: AsyncConnection, key: AccountKey, due_at: datetime, publish_at: datetime | None, rest: timedelta
) -> None:
    """When to look at the account again: ``due_at`` in domain time, ``publish_at`` and ``rest`` in real time."""
    await connection.execute(
        text(
            "UPDATE schedule SET due_at = :due_at, publish_at = :publish_at, "
            "not_before = clock_timestamp() + CAST(:rest AS interval) "
            "WHERE workspace_id = :workspace AND account_id = :account"
        ),
        {**key._asdict(), "due_at": due_at, "publish_at": publish_at, "rest": rest},
    )


async def rest(connection: AsyncConnection, key: AccountKey, how_long: timedelta) -> None:
    """Leave the account alone for a while of real time."""
    await connection.execute(
        text(
            "UPDATE schedule SET not_before = clock_timestamp() + CAST(:rest AS interval) "
            "WHERE workspace_id = :workspace AND account_id = :account"
        ),
        {**key._asdict(), "rest": how_long},
    )
