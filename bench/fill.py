"""What a scenario finds when it begins: telemetry waiting in the log, and the claims of a week gone by."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
import msgspec

from libs.common.clock import wall_now
from libs.common.db import asyncpg_url
from libs.common.ddl import CLAIM_TABLES, CLAIM_WINDOW_DAYS
from libs.common.event_log import EventLog, Record
from libs.common.events import TelemetryKind, TelemetryReceived, encode
from libs.common.topics import Topic
from services.ingest.bootstrap import Installed

APPENDED_AT_ONCE = 5_000
PEOPLE_PER_ACCOUNT = 10
EVENT_NAMES = tuple(
    f"{thing} {done}"
    for thing in ("Report", "Dashboard", "Invoice", "Teammate", "Workflow")
    for done in ("Created", "Opened", "Exported", "Shared")
)
"""None of them is one that the default model looks inside."""


@dataclass(frozen=True)
class Crowd:
    """The people of ``accounts`` accounts. Each call is of one of them, drawn at random: so hardly two calls of a batch
    are of the same person, which is the hardest case for whoever merges them."""

    accounts: int

    def events(
        self, keys: Installed, count: int, begin: datetime, seconds: float, seed: int
    ) -> Iterator[TelemetryReceived]:
        """``count`` accepted track calls, of about 300 bytes each as ingest writes them, evenly spread over ``seconds``
        from ``begin`` on. The same ``seed`` gives the same calls."""
        chance = random.Random(seed)  # noqa: S311 - nobody guards a secret with it
        for n in range(count):
            account, person = chance.randrange(self.accounts), chance.randrange(PEOPLE_PER_ACCOUNT)
            at = begin + timedelta(seconds=seconds * n / count)
            yield TelemetryReceived(
                workspace=keys.workspace,
                id=str(uuid.UUID(int=chance.getrandbits(128), version=4)),
                source=keys.source,
                kind=TelemetryKind.TRACK,
                event=chance.choice(EVENT_NAMES),
                user_id=f"person-{account}-{person}",
                account_id=f"account-{account}",
                account_rule="context.groupId",
                properties=msgspec.Raw(b'{"format":"pdf","pages":%d}' % chance.randrange(100)),
                occurred_at=at,
                received_at=at,
            )


async def fill_log(log: EventLog, keys: Installed, crowd: Crowd, count: int, seed: int = 1) -> None:
    """``count`` calls of the last minutes, by raw append."""
    waiting: list[Record] = []
    for event in crowd.events(keys, count, wall_now() - timedelta(minutes=10), 300, seed):
        waiting.append(Record(event.key, encode(event)))
        if len(waiting) == APPENDED_AT_ONCE:
            await log.append(Topic.TELEMETRY, waiting)
            waiting = []
    await log.append(Topic.TELEMETRY, waiting)


async def fill_claims(owner_url: str, schema: str, count: int) -> None:
    """As if ``count`` events had been taken in the days of the claim window, today included, so that a claim is looked
    for in tables of a realistic size. To be called before the service starts for the first time."""
    connection = await asyncpg.connect(asyncpg_url(owner_url))
    try:
        today = await connection.fetchval("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date")
        days = [today - timedelta(days=n) for n in range(CLAIM_WINDOW_DAYS + 1)]
        for day in days:
            table, slot = f"{schema}.claim_{day.toordinal() % CLAIM_TABLES}", day.toordinal() % CLAIM_TABLES
            await connection.execute(f"INSERT INTO {schema}.claim_day (slot, day) VALUES ($1, $2)", slot, day)
            await connection.execute(
                f"INSERT INTO {table} (id) SELECT gen_random_uuid() FROM generate_series(1, $1::int) ORDER BY 1",
                count // len(days),
            )
            await connection.execute(f"ANALYZE {table}")
    finally:
        await connection.close()
