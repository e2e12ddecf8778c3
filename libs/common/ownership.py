"""Who does what only one process may do: advisory locks on one session that a frozen process loses within seconds."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from time import monotonic

import asyncpg

from libs.common.db import DRIVER_ERRORS, asyncpg_url
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
    positions. Locks are of this session, so a pooler that shares sessions between clients breaks them.
    """

    def __init__(self, url: str, application_name: str, role: str | None = None) -> None:
        self._url = asyncpg_url(url)
        self._application_name = application_name
        self._role = role
        self._connection: asyncpg.Connection | None = None
        self._heart: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._held: set[int] = set()
        self._proven_at = 0.0

    @property
    def alive(self) -> bool:
        """Whether the locks are still ours as far as we can know: a process that wakes up after SIGSTOP cannot."""
        open_still = self._connection is not None and not self._connection.is_closed()
        return open_still and monotonic() - self._proven_at < LOST_AFTER_SECONDS

    @property
    def pid(self) -> int:
        """The server's number of this session, as ``holders`` tells it."""
        if self._connection is None or self._connection.is_closed():
            raise RetryLater("the lock session is gone")
        return self._connection.get_server_pid()

    async def open(self) -> None:
        """Raises RetryLater when PostgreSQL does not answer."""
        settings = {
            "application_name": self._application_name,
            "idle_session_timeout": str(int(LOST_AFTER_SECONDS * 1000)),
            # Who freezes between two messages of one statement is not idle for the server, but in a transaction.
            "transaction_timeout": str(int(LOST_AFTER_SECONDS * 1000)),
            "tcp_user_timeout": str(int(LOST_AFTER_SECONDS * 1000)),
        }
        if self._role:
            settings["role"] = self._role
        try:
            self._connection = await asyncpg.connect(self._url, timeout=5, server_settings=settings)
        except (OSError, *DRIVER_ERRORS) as exc:
            raise RetryLater(f"PostgreSQL gives no lock session: {exc}") from exc
        self._proven_at = monotonic()
        self._heart = asyncio.create_task(self._beat(), name=f"heartbeat {self._application_name}")

    async def close(self) -> None:
        """Frees every lock."""
        if self._heart is not None:
            self._heart.cancel()
            self._heart = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                await connection.close(timeout=1)
            except (OSError, *DRIVER_ERRORS):
                connection.terminate()

    async def try_lock(self, numbers: Sequence[int]) -> set[int]:
        """Take those of the locks that are free; the answer names the ones that are ours now."""
        # PostgreSQL counts how often a session takes a lock, and wants it given back as often.
        wanted = [number for number in numbers if number not in self._held]
        rows = await self._fetch("SELECT n FROM unnest($1::bigint[]) AS n WHERE pg_try_advisory_lock(n)", wanted)
        self._held.update(row["n"] for row in rows)
        return self._held.intersection(numbers)

    async def unlock(self, numbers: Sequence[int]) -> None:
        ours = sorted(self._held.intersection(numbers))
        await self._fetch("SELECT pg_advisory_unlock(n) FROM unnest($1::bigint[]) AS n", ours)
        self._held.difference_update(ours)

    async def join(self, number: int) -> None:
        """Hold a lock together with everybody who joins, so that ``holders`` can name the members."""
        await self._fetch("SELECT pg_advisory_lock_shared($1)", number)

    async def holders(self, numbers: Sequence[int]) -> Mapping[int, set[int]]:
        """For each lock that somebody holds, the sessions (by the server's number) that do."""
        # Compared with an array: a join would hold each lock of the server against each number, one row at a time.
        rows = await self._fetch(
            "SELECT (l.classid::bigint << 32) | l.objid::bigint AS n, l.pid FROM pg_locks l "
            "WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted "
            "AND (l.classid::bigint << 32) | l.objid::bigint = ANY ($1::bigint[]) "
            "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            list(numbers),
        )
        found: dict[int, set[int]] = defaultdict(set)
        for row in rows:
            found[row["n"]].add(row["pid"])
        return found

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
            asked_at = monotonic()
            try:
                async with asyncio.timeout(LOST_AFTER_SECONDS):
                    rows = await _or_terminate(self._connection, statement, arguments)
            except (OSError, *DRIVER_ERRORS) as exc:
                raise RetryLater(f"the lock session is gone: {str(exc) or 'no answer'}") from exc
            self._proven_at = asked_at
            return rows


async def _or_terminate(
    connection: asyncpg.Connection, statement: str, arguments: Sequence[object]
) -> list[asyncpg.Record]:
    """The answer, or the end of the connection: locks that we are not sure of must go."""
    try:
        rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
    except BaseException:
        connection.terminate()
        raise
    return rows


def fair_share(rank: int, members: int, topics: int, partitions: int) -> list[int]:
    """How many partitions of each topic the member at ``rank`` (from 0) owns; all members' shares add up to all.

    Each topic is shared evenly. What does not divide goes to other members topic by topic, so that their totals stay
    even too.
    """
    each, left = divmod(partitions, members)
    return [each + ((rank - topic * left) % members < left) for topic in range(topics)]
