"""What may become of a client's requests on their way, so that ingest itself gives the answer that a test wants."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import asyncpg
import httpx

from libs.common.testing import eventually
from tests.integration.ingest.clients.proxy import Answer, Asked, Forward, Trouble


def to_path(path: str) -> Trouble:
    async def trouble(_nth: int, asked: Asked, forward: Forward) -> Answer | None:
        return await forward(replace(asked, path=path))

    return trouble


async def body_cut_short(_nth: int, asked: Asked, forward: Forward) -> Answer | None:
    return await forward(replace(asked, body=asked.body[:-1]))


async def unknown_encoding(_nth: int, asked: Asked, forward: Forward) -> Answer | None:
    return await forward(replace(asked, headers={**asked.headers, "Content-Encoding": "br"}))


async def first_answer_lost(nth: int, asked: Asked, forward: Forward) -> Answer | None:
    """Ingest has taken the events and said so, and the connection ends."""
    answer = await forward(asked)
    return None if nth == 1 else answer


def first_answered_with(status: int, body: bytes = b"") -> Trouble:
    """Ingest has taken the events, and what the client hears first is something that ingest never says."""

    async def trouble(nth: int, asked: Asked, forward: Forward) -> Answer | None:
        answer = await forward(asked)
        return replace(answer, status=status, body=body) if answer and nth == 1 else answer

    return trouble


def first_over_quota(url: str, key: str, flood_events: int) -> Trouble:
    """Somebody else with the same key has just sent too much."""
    flood = [
        {"type": "track", "event": "Flood", "userId": "flood", "messageId": f"{key} {number}"}
        for number in range(flood_events)
    ]

    async def trouble(nth: int, asked: Asked, forward: Forward) -> Answer | None:
        if nth == 1:
            async with httpx.AsyncClient(base_url=url, headers={"x-write-key": key}) as client:
                assert (await client.post("/v1/batch", json={"batch": flood})).status_code == 200
        return await forward(asked)

    return trouble


class Silence:
    """The log does not answer while each of the ``expected`` clients sends its first request."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._arrived = self._answered = 0
        self._begun = asyncio.Event()
        self._over = asyncio.Event()

    async def met_by_the_first(self, nth: int, asked: Asked, forward: Forward) -> Answer | None:
        if nth > 1:
            return await forward(asked)
        self._arrived += 1
        await self._begun.wait()
        answer = await forward(asked)
        self._answered += 1
        return answer

    def survived_by(self, trouble: Trouble) -> Trouble:
        """The same trouble, once the log answers again."""

        async def later(nth: int, asked: Asked, forward: Forward) -> Answer | None:
            await self._over.wait()
            return await trouble(nth, asked, forward)

        return later

    async def happen(self, owner: asyncpg.Connection) -> None:
        async def all_arrived() -> bool:
            return self._arrived == self._expected

        async def all_answered() -> bool:
            return self._answered == self._expected

        await eventually(all_arrived, within_seconds=20, what="the first request of every client")
        async with owner.transaction():
            await owner.execute("LOCK TABLE log.topic_partition IN ACCESS EXCLUSIVE MODE")
            self._begun.set()
            await eventually(all_answered, what="an answer to each")
        self._over.set()
