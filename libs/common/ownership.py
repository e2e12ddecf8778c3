"""Who does what only one process may do: advisory locks on one session that a frozen process loses within seconds."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence

import asyncpg

from libs.common.db import asyncpg_url
from libs.common.errors import RetryLater

HEARTBEAT_SECONDS = 0.75
LOST_AFTER_SECONDS = 3.0


def lock_number(name: str) -> int:
    """The 64-bit key of a named advisory lock."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


class LockSession:
    """One PostgreSQL session that holds advisory locks for as long as it proves to be alive.

    The server ends the session when no heartbeat came for three seconds, as happens to a SIGSTOPped process; its
    locks are free from then on, and whatever that process still believes is caught by the compare-and-set of
    positions.
    """

    def __init__(self, url: str, application_name: str, role: str | None = None) -> None:
        self._url = asyncpg_url(url)
        self._application_name = application_name
        self._role = role
        self._connection: asyncpg.Connection | None = None
        self._heart: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    @property
    def alive(self) -> bool:
        return self._connection is not None and not self._connection.is_closed()

    async def open(self) -> None:
        """Raises RetryLater when PostgreSQL does not answer."""
        settings = {
            "application_name": self._application_name,
            "idle_session_timeout": str(int(LOST_AFTER_SECONDS * 1000)),
            "tcp_user_timeout": str(int(LOST_AFTER_SECONDS * 1000)),
        }
        if self._role:
            settings["role"] = self._role
        try:
            self._connection = await asyncpg.connect(
                self._url, timeout=5, command_timeout=LOST_AFTER_SECONDS, server_settings=settings
            )
        except (OSError, TimeoutError, asyncpg.PostgresError) as exc:
            raise RetryLater(f"PostgreSQL gives no lock session: {exc}") from exc
        self._heart = asyncio.create_task(self._beat(), name=f"heartbeat {self._application_name}")

    async def close(self) -> None:
        """Frees every lock."""
        if self._heart is not None:
            self._heart.cancel()
            self._heart = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                await connection.close(timeout=2)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                connection.terminate()

    async def try_lock(self, numbers: Sequence[int]) -> set[int]:
        """Take those of the locks that are free; the answer also names none that others hold."""
        rows = await self._fetch("SELECT n FROM unnest($1::bigint[]) AS n WHERE pg_try_advisory_lock(n)", list(numbers))
        return {row["n"] for row in rows}

    async def unlock(self, numbers: Sequence[int]) -> None:
        await self._fetch("SELECT pg_advisory_unlock(n) FROM unnest($1::bigint[]) AS n", list(numbers))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                await self._fetch("SELECT 1")
            except RetryLater:
                return

    async def _fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        async with self._turn:
            if self._connection is None or self._connection.is_closed():
                raise RetryLater("the lock session is gone")
            try:
                rows: list[asyncpg.Record] = await self._connection.fetch(statement, *arguments)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
                self._connection.terminate()
                raise RetryLater(f"the lock session is gone: {exc}") from exc
            return rows
