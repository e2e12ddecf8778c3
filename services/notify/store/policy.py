"""What a workspace wants: its delivery mode, its hourly caps, its suppression list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from libs.common.db import AsyncConnection, text
from libs.common.events import Channel
from libs.common.ownership import lock_number
from services.notify.domain.delivery import Delivery, Mode, Rules, UnknownPolicy
from services.notify.store.ledger import MOVABLE

HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class DeliveryMode:
    """A workspace that nobody has touched is in observe: nothing leaves the house."""

    mode: Mode = Mode.OBSERVE
    kill_switch: bool = False
    slack_hourly_cap: int = 60
    email_hourly_cap: int = 100
    webhook_unknown: UnknownPolicy = UnknownPolicy.PREFER_DUPLICATE
    changed_at: datetime | None = None
    changed_by: str | None = None

    def hourly_cap(self, channel: Channel) -> int:
        return {Channel.SLACK: self.slack_hourly_cap, Channel.EMAIL: self.email_hourly_cap}[channel]


@dataclass(frozen=True)
class Suppression:
    channel: Channel
    target: str
    reason: str
    added_at: datetime
    added_by: str


def same_target(channel: Channel, target: str) -> str:
    """How targets are compared: mailboxes and channel names without regard to case."""
    return target.strip().casefold() if channel is Channel.EMAIL or target.startswith("#") else target.strip()


async def lock_policy(
    connection: AsyncConnection, workspace: int, channels: Sequence[Channel] = tuple(Channel)
) -> None:
    """Whoever starts sending and whoever changes the rules do it one after the other: a change that has returned
    holds for everything that leaves afterwards, and two senders cannot both take the last place under a cap."""
    for channel in sorted(channels):
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(:n)"), {"n": lock_number(f"notify policy {workspace} {channel}")}
        )


async def delivery_mode(connection: AsyncConnection, workspace: int) -> DeliveryMode:
    row = (
        await connection.execute(
            text("SELECT * FROM delivery_mode WHERE workspace_id = :workspace"), {"workspace": workspace}
        )
    ).one_or_none()
    if row is None:
        return DeliveryMode()
    return DeliveryMode(
        mode=Mode(row.mode),
        kill_switch=row.kill_switch,
        slack_hourly_cap=row.slack_hourly_cap,
        email_hourly_cap=row.email_hourly_cap,
        webhook_unknown=UnknownPolicy(row.webhook_unknown),
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )


async def rules_for(connection: AsyncConnection, delivery: Delivery, now: datetime) -> Rules:
    """The rules that a delivery meets at this moment; nobody changes them before the transaction ends."""
    await lock_policy(connection, delivery.workspace, [delivery.channel])
    mode = await delivery_mode(connection, delivery.workspace)
    row = (
        await connection.execute(
            text(
                "SELECT EXISTS (SELECT FROM suppression WHERE workspace_id = :workspace AND channel = :channel "
                "AND target = :target) AS listed, (SELECT attempted_at FROM delivery WHERE workspace_id = :workspace "
                "AND channel = :channel AND state IN ('sending', 'sent', 'unknown') AND delivery_id <> :id "
                "AND attempted_at > :hour_ago ORDER BY attempted_at DESC OFFSET :earlier LIMIT 1) AS oldest"
            ),
            {
                "workspace": delivery.workspace,
                "channel": delivery.channel.value,
                "target": same_target(delivery.channel, delivery.target or ""),
                "id": delivery.id,
                "hour_ago": now - HOUR,
                "earlier": max(0, mode.hourly_cap(delivery.channel) - 1),
            },
        )
    ).one()
    free_at = row.oldest + HOUR if row.oldest is not None else None
    if mode.hourly_cap(delivery.channel) == 0:
        free_at = now + HOUR
    return Rules(
        mode=mode.mode,
        kill_switch=mode.kill_switch,
        webhook_unknown=mode.webhook_unknown,
        on_suppression_list=row.listed,
        cap_free_at=free_at,
    )


async def set_delivery_mode(connection: AsyncConnection, workspace: int, wanted: DeliveryMode, by: str) -> None:
    """Change the mode; the caller holds the policy's lock. What has not left is looked at again at once."""
    await connection.execute(
        text(
            "INSERT INTO delivery_mode (workspace_id, mode, kill_switch, slack_hourly_cap, email_hourly_cap, "
            "webhook_unknown, changed_by) VALUES (:workspace, :mode, :kill_switch, :slack, :email, :unknown, :by) "
            "ON CONFLICT (workspace_id) DO UPDATE SET mode = excluded.mode, kill_switch = excluded.kill_switch, "
            "slack_hourly_cap = excluded.slack_hourly_cap, email_hourly_cap = excluded.email_hourly_cap, "
            "webhook_unknown = excluded.webhook_unknown, changed_by = excluded.changed_by, changed_at = now()"
        ),
        {
            "workspace": workspace,
            "mode": wanted.mode.value,
            "kill_switch": wanted.kill_switch,
            "slack": wanted.slack_hourly_cap,
            "email": wanted.email_hourly_cap,
            "unknown": wanted.webhook_unknown.value,
            "by": by,
        },
    )
    # A row that a sender holds right now is waiting for our lock and will see what we wrote.
    await connection.execute(
        text(
            "UPDATE schedule SET not_before = now() WHERE seq = ANY (ARRAY(SELECT seq FROM schedule "
            "WHERE workspace_id = :workspace AND waiting_for = ANY (CAST(:movable AS text[])) FOR UPDATE SKIP LOCKED))"
        ),
        {"workspace": workspace, "movable": list(MOVABLE)},
    )


async def suppressions(connection: AsyncConnection, workspace: int) -> list[Suppression]:
    rows = await connection.execute(
        text("SELECT * FROM suppression WHERE workspace_id = :workspace ORDER BY added_at DESC, channel, target"),
        {"workspace": workspace},
    )
    return [_suppression(row) for row in rows]


async def suppress_target(
    connection: AsyncConnection, workspace: int, channel: Channel, target: str, reason: str, by: str
) -> None:
    """Nothing goes to ``target`` from now on; an entry that exists stays as it is."""
    await connection.execute(
        text(
            "INSERT INTO suppression (workspace_id, channel, target, reason, added_by) "
            "VALUES (:workspace, :channel, :target, :reason, :by) ON CONFLICT DO NOTHING"
        ),
        {
            "workspace": workspace,
            "channel": channel.value,
            "target": same_target(channel, target),
            "reason": reason,
            "by": by,
        },
    )


async def allow_target(connection: AsyncConnection, workspace: int, channel: Channel, target: str) -> bool:
    """Take a target off the list; False when it was not on it."""
    gone = await connection.execute(
        text("DELETE FROM suppression WHERE workspace_id = :workspace AND channel = :channel AND target = :target"),
        {"workspace": workspace, "channel": channel.value, "target": same_target(channel, target)},
    )
    return gone.rowcount > 0


def _suppression(row: Any) -> Suppression:
    return Suppression(Channel(row.channel), row.target, row.reason, row.added_at, row.added_by)
