"""A health service whose clock, log position and telemetry a test holds in its hands, on a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from libs.common.api_keys import new_api_key
from libs.common.clock import FixedClock
from libs.common.db import Database, text
from libs.common.events import (
    AccountEvent,
    AccountFinding,
    SourceWentLive,
    TelemetryKind,
    TelemetryReceived,
    decode,
)
from libs.common.topics import PARTITIONS, Topic
from services.health.configuration import rulebook
from services.health.domain import Rulebook
from services.health.handlers import Handlers
from services.health.router import Router
from services.health.score_worker import Pace, ScoreWorker
from tests.conftest import TestDatabase

CONFIG = Path(__file__).parents[3] / "config"
MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
SOURCE = 1

IMPATIENT = Pace(timedelta(0), timedelta(0), rests_for=0, usage_rests_for=0)


class World:
    """``tell`` is what the loop does with a batch, ``settle`` what router and score worker do until nothing is due."""

    def __init__(self, database: TestDatabase, rules: Rulebook, at: datetime) -> None:
        self.database = database
        self.rules = rules
        self.clock = FixedClock(at)
        self.worker_db = Database(database.url, role="kizashi_health_worker", schema="health", pool_size=8)
        self.handlers = Handlers(rules.model)
        self.router = Router(self.worker_db)
        self.score_worker = self.another_score_worker()
        self._n = 0

    def another_score_worker(self) -> ScoreWorker:
        return ScoreWorker(self.worker_db, self.clock, self.rules, IMPATIENT)

    # --- telemetry ---

    def event(self, kind: TelemetryKind, name: str, at: datetime, **fields: Any) -> TelemetryReceived:
        self._n += 1
        for json_field in ("properties", "traits"):
            if json_field in fields:
                fields[json_field] = msgspec.Raw(json.dumps(fields[json_field]).encode())
        given = {"workspace": 1, "id": f"m{self._n}", "source": SOURCE, "received_at": at, **fields}
        return TelemetryReceived(kind=kind, event=name, occurred_at=at, **given)

    def track(self, name: str, user: str | None, at: datetime, **fields: Any) -> TelemetryReceived:
        return self.event(TelemetryKind.TRACK, name, at, user_id=user, **fields)

    def group(self, user: str | None, account: str, at: datetime, **fields: Any) -> TelemetryReceived:
        return self.event(TelemetryKind.GROUP, "$group", at, user_id=user, account_id=account, **fields)

    def identify(self, user: str, at: datetime, **fields: Any) -> TelemetryReceived:
        return self.event(TelemetryKind.IDENTIFY, "$identify", at, user_id=user, **fields)

    def alias(self, previous: str, user: str, at: datetime, **fields: Any) -> TelemetryReceived:
        return self.event(TelemetryKind.ALIAS, "$alias", at, user_id=user, previous_id=previous, **fields)

    def routine(
        self, account: str, users: Iterable[str], first: datetime, days: int, per_day: int = 4, **fields: Any
    ) -> list[TelemetryReceived]:
        """People of an account at work, on working days, each event of another kind."""
        events = []
        for user in users:
            events.append(self.group(user, account, first, **fields))
            for day in range(days):
                at = first + day * DAY
                if at.weekday() < 5:
                    events += [
                        self.track(f"Feature {n} Used", user, at + n * timedelta(minutes=7), **fields)
                        for n in range(per_day)
                    ]
        return events

    async def tell(self, events: Sequence[TelemetryReceived]) -> None:
        """As the loop does with one batch of new events, in one transaction."""
        async with self.worker_db.transaction({event.workspace for event in events}) as connection:
            assert await self.handlers.on_telemetry_received(connection, list(events)) == []

    def marks(self, source: int = SOURCE, workspace: int = 1) -> list[SourceWentLive]:
        return [
            SourceWentLive(
                workspace=workspace,
                id=f"live-{source}-{topic}-{partition}",
                source=source,
                in_topic=topic,
                in_partition=partition,
                occurred_at=self.clock.now(),
            )
            for topic in (Topic.TELEMETRY, Topic.TELEMETRY_IMPORT)
            for partition in range(PARTITIONS)
        ]

    async def read_marks(self, marks: Sequence[SourceWentLive]) -> None:
        async with self.worker_db.transaction({mark.workspace for mark in marks}) as connection:
            assert await self.handlers.on_source_went_live(connection, list(marks)) == []

    async def go_live(self, source: int = SOURCE, workspace: int = 1) -> None:
        await self.read_marks(self.marks(source, workspace))

    async def establish(self, *accounts: str, users: int = 3, days: int = 90, **fields: Any) -> None:
        """Healthy accounts with a past, up to the clock's day, from a source that has then gone live."""
        first = self.clock.at - days * DAY
        for account in accounts:
            people = [f"{account}-{n}" for n in range(users)]
            await self.tell(self.routine(account, people, first, days, **fields))
            await self.tell([self.group(None, account, first, traits={"seats": users}, **fields)])
        await self.go_live(fields.get("source", SOURCE), fields.get("workspace", 1))
        await self.settle()

    # --- time ---

    async def read_up_to(
        self, moment: datetime, topics: Sequence[Topic] = (Topic.TELEMETRY, Topic.TELEMETRY_IMPORT)
    ) -> None:
        """Everything accepted up to ``moment`` has been read."""
        async with self.worker_db.transaction() as connection:
            await connection.execute(
                text(
                    "INSERT INTO consumer_position (topic, partition, log_identity, next, caught_up_to) "
                    "SELECT topic, partition, 'hand-made', 0, :moment "
                    "FROM unnest(CAST(:topics AS text[])) AS topic, generate_series(0, :last) AS partition "
                    "ON CONFLICT (topic, partition) DO UPDATE SET caught_up_to = excluded.caught_up_to"
                ),
                {"moment": moment, "topics": [topic.value for topic in topics], "last": PARTITIONS - 1},
            )

    async def settle(self) -> None:
        """Everything read, routed and scored as of the clock."""
        await self.read_up_to(self.clock.now())
        await self.work()

    async def work(self) -> None:
        """Route and score until nothing is due any more, however far the log has been read."""
        while await self.router.route_once() or await self.score_worker.score_round():
            pass
        set_aside = await self.rows("SELECT account_id FROM schedule WHERE not_before > now() + interval '10 seconds'")
        assert set_aside == [], "their scoring broke; the log says how"

    async def pass_time(self, until: datetime, step: timedelta = HOUR) -> None:
        while self.clock.at < until:
            self.clock.at = min(self.clock.at + step, until)
            await self.settle()

    # --- what came of it ---

    async def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        """As the owner, who needs to name the workspaces too."""
        owner = await asyncpg.connect(self.database.owner_url, server_settings={"search_path": "health"})
        try:
            await owner.execute("SELECT set_config('kizashi.workspaces', '1,2', false)")
            return [dict(row) for row in await owner.fetch(statement, *arguments)]
        finally:
            await owner.close()

    async def account(self, account: str, workspace: int = 1) -> dict[str, Any]:
        (row,) = await self.rows(
            "SELECT * FROM account WHERE workspace_id = $1 AND account_id = $2", workspace, account
        )
        return row

    async def told(self) -> list[AccountEvent]:
        """Everything in the outbox, oldest first; nothing publishes it here."""
        events = [decode(bytes(row["value"])) for row in await self.rows("SELECT value FROM outbox ORDER BY id")]
        return [event for event in events if isinstance(event, AccountEvent)]

    async def findings(self) -> list[AccountFinding]:
        """What is told beside snapshots."""
        return [event for event in await self.told() if isinstance(event, AccountFinding)]

    async def usage(self, account: str, workspace: int = 1) -> dict[tuple[str, str], int]:
        rows = await self.rows(
            "SELECT event_day, event, sum(n)::int AS n FROM account_day "
            "WHERE workspace_id = $1 AND account_id = $2 GROUP BY 1, 2",
            workspace,
            account,
        )
        return {(str(row["event_day"]), row["event"]): row["n"] for row in rows}


@asynccontextmanager
async def world(database: TestDatabase, at: datetime = MONDAY) -> AsyncIterator[World]:
    """A world at ``at`` with the shipped configuration."""
    made = World(database, rulebook(CONFIG, "default"), at)
    try:
        yield made
    finally:
        await made.worker_db.close()


async def key_for(here: World, workspace: int, *scopes: str) -> dict[str, str]:
    """The header of a caller."""
    key = new_api_key()
    owner = await asyncpg.connect(here.database.owner_url)
    await owner.execute(
        "INSERT INTO access.api_key (public_id, workspace_id, name, secret_hash, scopes) "
        "VALUES ($1, $2, 'test', $3, $4)",
        key.public_id,
        workspace,
        key.secret_hash,
        list(scopes),
    )
    await owner.close()
    return {"Authorization": f"Bearer {key.token}"}
