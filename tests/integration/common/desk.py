"""``tally`` over HTTP, and people who may ask it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
from fastapi import FastAPI

from libs.common import dead_letters, log_api
from libs.common.api_keys import Scope, new_api_key
from libs.common.db import Database
from libs.common.event_log import EventLog
from libs.common.topics import Topic
from libs.common.web import Probes, make_app

PEOPLE = {
    "one": (1, [Scope.ADMIN]),
    "two": (2, [Scope.ADMIN]),
    "operator": (1, [Scope.ADMIN, Scope.OPERATOR]),
    "reader": (1, [Scope.READ]),
}
"""Who has a key of which workspace, with which scopes."""


@dataclass
class Desk:
    app: FastAPI
    http: httpx.AsyncClient
    keys: dict[str, str]

    async def ask(self, who: str, method: str, path: str, **more: Any) -> httpx.Response:
        return await self.http.request(method, path, headers={"Authorization": f"Bearer {self.keys[who]}"}, **more)

    async def letters(self, who: str, method: str, path: str, **more: Any) -> httpx.Response:
        return await self.ask(who, method, f"/v1/dead-letters{path}", **more)

    async def replay(self, letter: object, who: str = "one") -> tuple[int, str]:
        """Status and code."""
        answer = await self.letters(who, "POST", f"/{letter}/replay")
        return answer.status_code, answer.json().get("code", "")

    async def partition(self, number: int) -> dict[str, Any]:
        """What ``/v1/log`` says of a partition of telemetry."""
        answer = await self.ask("operator", "GET", "/v1/log")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()["partitions"][number]
        return found

    async def skip(self, partition: int, to: object, expected: int, **more: Any) -> httpx.Response:
        body = {"topic": "telemetry", "partition": partition, "to": to, "expected": expected, **more}
        return await self.ask("operator", "POST", "/v1/log/skip", json=body)


@contextlib.asynccontextmanager
async def opened(url: str, owner: asyncpg.Connection, log: EventLog) -> AsyncIterator[Desk]:
    api = Database(url, role="kizashi_tally_api", schema="tally")
    app = make_app("tally", "counts", Probes())
    app.include_router(dead_letters.routes(api, group="tally"))
    app.include_router(log_api.routes(api, log, "tally", [Topic.TELEMETRY]))
    keys = {}
    for who, (workspace, scopes) in PEOPLE.items():
        key = new_api_key()
        await owner.execute(
            "INSERT INTO access.api_key (public_id, workspace_id, name, secret_hash, scopes) "
            "VALUES ($1, $2, $3, $4, $5)",
            key.public_id,
            workspace,
            who,
            key.secret_hash,
            [scope.value for scope in scopes],
        )
        keys[who] = key.token
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tally") as http:
        yield Desk(app, http, keys)
    await api.close()
