"""A made-up service, ``tally``, and its reader, ``echo``: they do nothing but count, so that a lost or doubled effect
shows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from libs.common.consumer import Consumer, Handling, handles
from libs.common.db import AsyncConnection, Database, text
from libs.common.ddl import consumer_tables_v1, consumer_tables_v2, consumer_tables_v3, roles_v1, tenant_policy_v1
from libs.common.errors import InvalidEvent
from libs.common.event_log import EventLog, Record
from libs.common.events import Event, TelemetryKind, TelemetryReceived, TouchCancelled, derived_id, encode
from libs.common.progress import Patience
from libs.common.topics import Topic
from tests.conftest import LOGIN

QUICK = Patience(look_seconds=0.02, look_again_seconds=0.02, breaker_pause_seconds=0.01)
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


async def make_service(owner: asyncpg.Connection, name: str) -> None:
    """A schema as a service's migrations make it, with a table that counts how often each event had its effect."""
    for statement in (
        f"CREATE SCHEMA {name}",
        f"CREATE TABLE {name}.schema_version (version_num text)",
        *roles_v1(name),
        *consumer_tables_v1(name),
        *consumer_tables_v2(name),
        *consumer_tables_v3(name),
        f"""CREATE TABLE {name}.effect (
            workspace_id bigint NOT NULL,
            event_id text NOT NULL,
            times int NOT NULL,
            note jsonb,
            PRIMARY KEY (workspace_id, event_id)
        )""",
        f"""CREATE TABLE {name}.account (
            workspace_id bigint NOT NULL,
            account_id text NOT NULL,
            events int NOT NULL,
            first_at timestamptz NOT NULL,
            last_at timestamptz NOT NULL,
            last_event text NOT NULL,
            PRIMARY KEY (workspace_id, account_id)
        )""",
        *tenant_policy_v1(name, "effect", "account"),
        f"GRANT SELECT, INSERT, UPDATE ON {name}.effect, {name}.account TO kizashi_{name}_worker",
        f"GRANT kizashi_{name}_api, kizashi_{name}_worker TO {LOGIN} WITH INHERIT FALSE",
    ):
        await owner.execute(statement)


def worker(url: str, name: str, **limits: float) -> Database:
    return Database(url, role=f"kizashi_{name}_worker", schema=name, **limits)  # type: ignore[arg-type]


def telemetry(
    n: int, *, event: str = "Report Opened", workspace: int = 1, user: str | None = None, message: str | None = None
) -> TelemetryReceived:
    """The nth event of a product: its user, account and time follow from n."""
    at = START + timedelta(seconds=n)
    return TelemetryReceived(
        workspace=workspace,
        id=message or f"message-{n}",
        source=1,
        kind=TelemetryKind.TRACK,
        event=event,
        user_id=user or f"user-{n % 40}",
        account_id=f"account-{n % 7}",
        occurred_at=at,
        received_at=at,
    )


async def publish(log: EventLog, events: Sequence[Event], partition: int | None = None) -> None:
    """Append events as they travel; to their keys' partitions unless one is given."""
    by_topic: dict[Topic, list[Record]] = {}
    for event in events:
        by_topic.setdefault(event.destination, []).append(Record(event.key, encode(event)))
    for topic, records in by_topic.items():
        await log.append(topic, records, partition)


async def on_telemetry_received(connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
    """Counts each event and what is known of its account, refuses those that ask for it, and says that it did."""
    for event in events:
        if event.event == "raise":
            raise ZeroDivisionError(f"the handler stumbles over {event.id}")
        if event.event == "invalid":
            raise InvalidEvent("no_such_plan", f"{event.id} names a plan that there is not")
    await connection.execute(
        text(
            "INSERT INTO effect AS e (workspace_id, event_id, times, note) "
            "SELECT workspace_id, event_id, 1, CAST(note AS jsonb) FROM unnest(CAST(:workspaces AS bigint[]), "
            "CAST(:ids AS text[]), CAST(:notes AS text[])) AS given (workspace_id, event_id, note) "
            "ORDER BY 1, 2 ON CONFLICT (workspace_id, event_id) DO UPDATE SET times = e.times + 1"
        ),
        {
            "workspaces": [event.workspace for event in events],
            "ids": [event.id for event in events],
            "notes": [r'"\u0000"' if event.event == "nul" else f'{{"by": {os.getpid()}}}' for event in events],
        },
    )
    await connection.execute(
        text(
            "INSERT INTO account AS a (workspace_id, account_id, events, first_at, last_at, last_event) "
            "SELECT workspace_id, account_id, count(*), min(at), max(at), max(at::text || ' ' || id) "
            "FROM unnest(CAST(:workspaces AS bigint[]), CAST(:accounts AS text[]), CAST(:times AS timestamptz[]), "
            "CAST(:ids AS text[])) AS given (workspace_id, account_id, at, id) GROUP BY 1, 2 ORDER BY 1, 2 "
            "ON CONFLICT (workspace_id, account_id) DO UPDATE SET events = a.events + excluded.events, "
            "first_at = least(a.first_at, excluded.first_at), last_at = greatest(a.last_at, excluded.last_at), "
            "last_event = greatest(a.last_event, excluded.last_event)"
        ),
        {
            "workspaces": [event.workspace for event in events],
            "accounts": [event.account_id for event in events],
            "times": [event.occurred_at for event in events],
            "ids": [event.id for event in events],
        },
    )
    return [
        TouchCancelled(
            workspace=event.workspace,
            id=derived_id(event.workspace, str(event.account_id), "counted", event.id),
            account_id=str(event.account_id),
            touch_id=event.id,
            reason="counted",
        )
        for event in events
    ]


async def on_touch_cancelled(connection: AsyncConnection, events: list[TouchCancelled]) -> list[Event]:
    await connection.execute(
        text(
            "INSERT INTO effect AS e (workspace_id, event_id, times) SELECT *, 1 FROM unnest("
            "CAST(:workspaces AS bigint[]), CAST(:ids AS text[])) AS given (workspace_id, event_id) ORDER BY 1, 2 "
            "ON CONFLICT (workspace_id, event_id) DO UPDATE SET times = e.times + 1"
        ),
        {"workspaces": [event.workspace for event in events], "ids": [event.touch_id for event in events]},
    )
    return []


COUNTING: Handling[Any] = handles(TelemetryReceived, on_telemetry_received)
ECHOING: Handling[Any] = handles(TouchCancelled, on_touch_cancelled)


def tally(log: EventLog, database: Database, kind: Callable[..., Consumer] = Consumer, **differently: Any) -> Consumer:
    return kind(
        **{
            "group": "tally",
            "log": log,
            "database": database,
            "topics": [Topic.TELEMETRY],
            "handlings": [COUNTING],
            **differently,
        }
    )


def echo(log: EventLog, database: Database) -> Consumer:
    return Consumer(group="echo", log=log, database=database, topics=[Topic.TOUCHES], handlings=[ECHOING])
