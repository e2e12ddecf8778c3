"""What is still on its way through the town, asked in the direction in which work flows: what moves on while we ask is
met further down, so nothing can slip past us."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import asyncpg
import httpx

from libs.common.event_log import EventLog
from libs.common.topics import Topic
from services.ingest.bootstrap import Installed
from tests.faults.history import Waiting
from tests.faults.town import Town


async def waiting(town: Town, keys: Installed, log: EventLog) -> tuple[Waiting, ...]:
    """Raises RetryLater, OSError, asyncpg.PostgresError or httpx.HTTPError when somebody does not answer."""
    owner = await asyncpg.connect(town.postgres.owner_url, timeout=5, command_timeout=5)
    headers = {"authorization": f"Bearer {keys.api_key}"}
    try:
        async with httpx.AsyncClient(headers=headers, timeout=5) as http:
            return tuple([one async for one in _downstream(town, http, owner, log) if one.count])
    finally:
        await owner.close(timeout=5)


async def _downstream(
    town: Town, http: httpx.AsyncClient, owner: asyncpg.Connection, log: EventLog
) -> AsyncIterator[Waiting]:
    async for one in _lag("health", [Topic.TELEMETRY, Topic.TELEMETRY_IMPORT], owner, log):
        yield one
    progress = await _ask(http, f"{town.url('health-0')}/v1/progress")
    for what, count in progress["waiting"].items():
        yield Waiting(what=what, count=count)
    yield await _outbox("health", owner)
    async for one in _lag("playbook", [Topic.HEALTH], owner, log):
        yield one
    due = await owner.fetchval("SELECT count(*) FROM playbook.run WHERE ended_at IS NULL AND next_step_at <= now()")
    yield Waiting(what="due steps of runs", count=due)
    yield await _outbox("playbook", owner)
    async for one in _lag("notify", [Topic.TOUCHES], owner, log):
        yield one
    unsettled = await owner.fetchval("SELECT count(*) FROM notify.schedule")
    yield Waiting(what="unsettled deliveries", count=unsettled)
    yield await _outbox("notify", owner)
    async for one in _lag("playbook", [Topic.DELIVERIES], owner, log):
        yield one


async def _lag(
    service: str, topics: Sequence[Topic], owner: asyncpg.Connection, log: EventLog
) -> AsyncIterator[Waiting]:
    ends = await log.ends(topics)
    rows = await owner.fetch(f"SELECT topic, partition, next FROM {service}.consumer_position")
    read = {(row["topic"], row["partition"]): row["next"] for row in rows}
    for place, end in ends.items():
        behind = end - read.get((place.topic.value, place.partition), 0)
        yield Waiting(what=f"lag of {service} on {place.topic}/{place.partition}", count=max(0, behind))


async def _outbox(service: str, owner: asyncpg.Connection) -> Waiting:
    return Waiting(what=f"outbox of {service}", count=await owner.fetchval(f"SELECT count(*) FROM {service}.outbox"))


async def _ask(http: httpx.AsyncClient, url: str) -> dict[str, dict[str, int]]:
    answer = await http.get(url)
    answer.raise_for_status()
    found: dict[str, dict[str, int]] = answer.json()
    return found
