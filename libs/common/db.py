"""PostgreSQL for the services: one role per pool, tenant rows visible only inside a transaction that names them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from libs.common.errors import RetryLater

__all__ = ["AsyncConnection", "Database", "asyncpg_url", "is_world_at_fault", "text"]


def sqlalchemy_url(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+asyncpg")


def asyncpg_url(url: str) -> str:
    """The same address for asyncpg itself, which the event log and the lock sessions use directly."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


class Database:
    """A pool of connections that act as one role, with one schema first in their search path.

    ``role`` owns nothing and bypasses no policy: without ``workspaces`` a transaction sees no tenant's row.
    A frozen process must not keep its locks, so the server ends a transaction that idles for ``idle_seconds``.
    """

    def __init__(
        self,
        url: str,
        *,
        role: str,
        schema: str,
        pool_size: int = 5,
        idle_seconds: float = 10,
        lock_seconds: float = 10,
    ) -> None:
        self.role = role
        self._engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            pool_pre_ping=True,
            connect_args={
                "timeout": 5,
                "command_timeout": 60,
                "server_settings": {
                    "role": role,
                    "search_path": schema,
                    "application_name": role,
                    "timezone": "UTC",
                    "idle_in_transaction_session_timeout": str(int(idle_seconds * 1000)),
                    "lock_timeout": str(int(lock_seconds * 1000)),
                    "tcp_user_timeout": "10000",
                    "jit": "off",
                },
            },
        )

    @asynccontextmanager
    async def transaction(self, workspaces: Iterable[int] = ()) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees the rows of ``workspaces`` and commits unless an exception leaves the block.

        Raises RetryLater in place of errors for which the world is at fault (no connection, deadlock, serialization).
        """
        try:
            async with self._engine.begin() as connection:
                await see_workspaces(connection, workspaces)
                yield connection
        except (DBAPIError, PoolTimeout, OSError, TimeoutError, asyncpg.PostgresError) as exc:
            if is_world_at_fault(exc):
                raise RetryLater(f"PostgreSQL as {self.role}: {exc}") from exc
            raise

    async def ping(self) -> None:
        """Raises RetryLater when PostgreSQL does not answer."""
        async with self.transaction() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self._engine.dispose()


async def see_workspaces(connection: AsyncConnection, workspaces: Iterable[int]) -> None:
    """Make the rows of these workspaces, and of no others, visible until the transaction ends."""
    await connection.execute(
        text("SELECT set_config('kizashi.workspaces', :numbers, true)"),
        {"numbers": ",".join(str(number) for number in sorted(set(workspaces)))},
    )


def is_world_at_fault(exc: BaseException) -> bool:
    """Whether the same statement may succeed later: connection, resources, shutdown, deadlock, serialization, locks.

    By SQLSTATE class: 08 connection, 40 rollback, 53 resources, 55 not in state, 57 operator intervention, 58 system,
    25P03 idle in transaction. Everything else that the database refuses, it refuses as data.
    """
    if isinstance(exc, PoolTimeout | OSError | TimeoutError):
        return True
    if isinstance(exc, DBAPIError):
        if exc.connection_invalidated or (isinstance(exc, InterfaceError) and exc.orig is None):
            return True
        state = getattr(exc.orig, "sqlstate", None)
        if state is None and isinstance(exc, InterfaceError | OperationalError):
            # asyncpg's own interface errors carry no state; bad arguments come as DataError instead.
            return "DataError" not in type(exc.orig.__cause__ or exc.orig).__name__
    else:
        state = getattr(exc, "sqlstate", None)
    return bool(state) and (str(state)[:2] in {"08", "40", "53", "55", "57", "58"} or state == "25P03")
