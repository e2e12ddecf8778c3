"""Health, reading the log in the test's own process: what clients sent counts where it belongs, and once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import quote

import asyncpg
import httpx

from libs.common.event_log import EventLog
from libs.common.testing import eventually
from libs.common.topics import Topic
from services.health.app import compose

TOPICS = (Topic.TELEMETRY, Topic.TELEMETRY_IMPORT)


class Health:
    def __init__(self, api: httpx.AsyncClient, owner: asyncpg.Connection, log: EventLog) -> None:
        self._api = api
        self._owner = owner
        self._log = log

    async def caught_up(self) -> None:
        """Everything that the log holds has had its effect."""
        ends = {(str(place.topic), place.partition): end for place, end in (await self._log.ends(TOPICS)).items()}

        async def read() -> bool:
            rows = await self._owner.fetch("SELECT topic, partition, next FROM health.consumer_position")
            positions = {(row["topic"], row["partition"]): row["next"] for row in rows}
            waiting = (await self._api.get("/v1/progress")).json()["waiting"]
            on_its_way = waiting["requests"] or waiting["dirty"]
            return all(positions.get(place, 0) >= end for place, end in ends.items()) and not on_its_way

        await eventually(read, within_seconds=20, what="health having read everything")

    async def usage_total(self) -> int:
        """Of all events of the workspace, those without an account too."""
        return int((await self._api.get("/v1/progress")).json()["usage_total"])

    async def usage(self, account: str) -> Counter[str]:
        """How often each event counts for the account."""
        answer = await self._api.get(f"/v1/accounts/{quote(account, safe='')}/usage")
        assert answer.status_code == 200, f"{account}: {answer.text}"
        found: Counter[str] = Counter()
        for day in answer.json()["days"]:
            found[day["event"]] += day["count"]
        return found


@asynccontextmanager
async def reading(owner: asyncpg.Connection, log: EventLog, key: dict[str, str]) -> AsyncIterator[Health]:
    """Health as its composition root wires it, for the environment variables as they are now."""
    service = compose()
    async with AsyncExitStack() as stack:
        for closing in reversed(service.close):
            stack.push_async_callback(closing)
        for opening in service.open:
            await opening()
        tasks = [asyncio.create_task(task()) for task in service.tasks]
        transport = httpx.ASGITransport(service.app)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://health", headers=key) as api:
                yield Health(api, owner, log)
        finally:
            service.stopping.set()
            await asyncio.gather(*tasks)
