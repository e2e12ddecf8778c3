"""What a command holds that changes whose positions are where: the services' database as its owner, and a lock."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import asyncpg

from libs.common.errors import NotStarted, RetryLater
from libs.common.log_move.logs import NAME, RUN_AGAIN, MovableLog
from libs.common.log_move.positions import Positions
from libs.common.log_move.postgres import connect, told_to_operators
from libs.common.ownership import LockSession, lock_number
from libs.common.topics import Topic


@dataclass(frozen=True)
class Work:
    """``lock`` keeps every other such command away."""

    owner: asyncpg.Connection
    positions: Positions
    lock: LockSession


@contextlib.asynccontextmanager
async def at_work(owner_url: str, log: MovableLog, readers: Mapping[Topic, str]) -> AsyncIterator[Work]:
    """With ``log`` open. One at a time; raises NotStarted when another one is at work, or somebody does not answer."""
    lock = LockSession(owner_url, f"{NAME}, lock")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(lock.close)
        try:
            await lock.open()
            taken = await lock.try_lock([lock_number(NAME)])
        except RetryLater as exc:
            raise NotStarted(f"The services' database does not answer; correct its address or start it: {exc}") from exc
        if not taken:
            raise NotStarted("Another kizashi log move is at work here; wait for its end, or end it.")
        owner = await connect(owner_url, "services")
        stack.push_async_callback(owner.close)
        stack.push_async_callback(log.close)
        try:
            await log.open()
            with told_to_operators("The services' database stopped answering"):
                yield Work(owner, Positions(owner, readers), lock)
        except RetryLater as exc:
            raise NotStarted(f"An event log does not answer: {exc}. {RUN_AGAIN}") from exc
