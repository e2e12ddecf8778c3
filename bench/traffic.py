"""A product under steady load: it sends at its rate whether or not it is answered, as products do."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic, perf_counter
from typing import Any

import aiohttp

from bench.figures import NotMeasured
from libs.common.clock import Clock, WallClock, wall_now

REQUESTS_PER_S = 10
"""Each with its share of the events, as the queue of an SDK is flushed."""
PEOPLE = 4
"""Of an account."""
FEATURES = ("Report Created", "Report Exported", "Workflow Run", "Record Updated", "Comment Added")
TIERS: Sequence[Mapping[str, object]] = ({"plan": "enterprise"}, {"arr": 20_000}, {"arr": 5_000})
"""Traits that lead to the three tiers (config/segments.yaml), each with a Slack channel of its own
(bench/config/touch_tiers.yaml)."""
LATE_SECONDS = 1.0
"""Behind its plan the generator would measure itself."""
INTRODUCED_AT_ONCE = 250


def account_ids(count: int) -> list[str]:
    return [f"account-{n:05d}" for n in range(count)]


@dataclass
class Product:
    """One source of events. ``accepted`` counts those that were answered with 200; ``ticketed`` has the moment of that
    answer for each account with a ticket, one ticket each; ``answered`` when each answer came and how long it
    took."""

    http: aiohttp.ClientSession
    url: str
    accounts: Sequence[str]
    clock: Clock
    seed: int = 1
    accepted: int = 0
    ticketed: dict[str, datetime] = field(default_factory=dict)
    answered: list[tuple[datetime, timedelta]] = field(default_factory=list)
    _sent: int = 0

    async def introduce(self) -> None:
        """A group call for each account, with the traits of its tier."""
        for first in range(0, len(self.accounts), INTRODUCED_AT_ONCE):
            calls = [
                self.call("group", account, 0, groupId=account, traits={**TIERS[n % len(TIERS)], "name": account})
                for n, account in enumerate(self.accounts[first : first + INTRODUCED_AT_ONCE], start=first)
            ]
            await self.post("/v1/batch", {"batch": calls}, len(calls))

    async def work(self, events_per_s: float, seconds: float) -> None:
        """Everybody uses the product, in no order. Raises NotMeasured when it falls behind its plan."""
        luck = random.Random(self.seed)  # noqa: S311 - no secret
        size = round(events_per_s / REQUESTS_PER_S)

        async def flush(_: int) -> None:
            calls = [
                self.call(
                    "track",
                    account := luck.choice(self.accounts),
                    luck.randrange(PEOPLE),
                    event=luck.choice(FEATURES),
                    context={"groupId": account, "library": {"name": "analytics-python", "version": "2.3.4"}},
                    properties={"seconds": luck.randrange(600), "plan": "team", "screen": "overview", "beta": False},
                )
                for _ in range(size)
            ]
            await self.post("/v1/batch", {"batch": calls}, size)

        await steadily(flush, REQUESTS_PER_S, seconds)

    async def open_tickets(self, accounts: Sequence[str], priority: str, per_second: float) -> None:
        """One for each, at this pace."""

        async def one(n: int) -> None:
            account = accounts[n]
            properties = {"priority": priority, "ticket_id": f"{account}-ticket"}
            call = self.call("track", account, 0, event="Ticket Opened", properties=properties)
            await self.post("/v1/track", {**call, "context": {"groupId": account}}, 1)
            self.ticketed[account] = wall_now()

        await steadily(one, per_second, len(accounts) / per_second)

    def call(self, kind: str, account: str, person: int, **fields: Any) -> dict[str, Any]:
        """As an SDK writes it, with an id of its own."""
        self._sent += 1
        return {
            "type": kind,
            "messageId": f"bench-{self._sent:08d}",
            "userId": f"{account}-{person}",
            "timestamp": self.clock.now().isoformat(),
            **fields,
        }

    async def post(self, path: str, body: Mapping[str, Any], events: int) -> None:
        """Raises NotMeasured for any answer but 200."""
        data = json.dumps(body).encode()
        began = perf_counter()
        async with self.http.post(f"{self.url}{path}", data=data) as answer:
            said = await answer.read()
        if answer.status != 200 or said != b'{"success":true}':
            raise NotMeasured(f"ingest answered {answer.status} {said[:200].decode(errors='replace')}")
        self.answered.append((wall_now(), timedelta(seconds=perf_counter() - began)))
        self.accepted += events


@asynccontextmanager
async def product(
    url: str, write_key: str, accounts: Sequence[str], clock: Clock = WallClock()
) -> AsyncIterator[Product]:
    """``url`` of ingest; ``clock`` has the times of what happens in it."""
    headers = {"x-write-key": write_key, "content-type": "application/json"}
    async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as http:
        yield Product(http, url, accounts, clock)


async def steadily(send: Callable[[int], Awaitable[None]], per_second: float, seconds: float) -> None:
    """Call ``send`` with 0, 1, 2 … at an even pace, without waiting for what was called before; return when all have
    returned. Raises what one of them raises, and NotMeasured when the pace was not kept."""
    began = monotonic()
    async with asyncio.TaskGroup() as group:
        for n in range(round(per_second * seconds)):
            planned = began + n / per_second
            await asyncio.sleep(max(0.0, planned - monotonic()))
            if (late := monotonic() - planned) > LATE_SECONDS:
                raise NotMeasured(f"The load came {late:.1f} s late: this machine is too busy to be measured.")
            group.create_task(_awaited(send(n)))


async def _awaited(sending: Awaitable[None]) -> None:
    await sending
