"""PostgreSQL for the services: one role per pool, tenant rows visible only inside a transaction that names them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import asyncpg
import sqlalchemy
from sqlalchemy import TextClause, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from libs.common.errors import RetryLater

__all__ = ["AsyncConnection", "Database", "asyncpg_url", "is_world_at_fault", "sentence_of", "text"]

STATEMENTS_KEPT = 1000


@lru_cache(maxsize=STATEMENTS_KEPT)
def text(statement: str) -> TextClause:
    """``statement`` with its ``:names`` found, once: looking for them takes longer than sending a short one."""
    return sqlalchemy.text(statement)


def sqlalchemy_url(url: str) -> URL:
    return make_url(url).set(drivername="postgresql+asyncpg")


def asyncpg_url(url: str) -> str:
    """The same address for asyncpg itself, which the event log and the lock sessions use directly."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


class Database:
    """A pool of connections that act as one role, with one schema first in their search path.

    ``role`` owns nothing and bypasses no policy: without ``workspaces`` a transaction sees no tenant's row.
    A frozen process must not keep its locks, so the server ends a transaction that idles for ``idle_seconds``; do
    nothing slow between two statements. One that freezes between two messages of a statement does not count as idle:
    so no transaction lives longer than ``transaction_seconds``. Who waits longer than ``lock_seconds`` for a lock, or
    than ``pool_seconds`` for one of the ``pool_size`` connections, is told RetryLater.
    """

    def __init__(
        self,
        url: str,
        *,
        role: str,
        schema: str,
        pool_size: int = 5,
        pool_seconds: float = 10,
        idle_seconds: float = 3,
        lock_seconds: float = 3,
        transaction_seconds: float = 10,
    ) -> None:
        self.role = role
        self._engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=pool_seconds,
            hide_parameters=True,  # errors are logged, and parameters are customers' data
            connect_args={
                "timeout": 5,
                "command_timeout": 30,
                "server_settings": {
                    "role": role,
                    "search_path": schema,
                    "application_name": role,
                    "timezone": "UTC",
                    "idle_in_transaction_session_timeout": str(int(idle_seconds * 1000)),
                    "lock_timeout": str(int(lock_seconds * 1000)),
                    "transaction_timeout": str(int(transaction_seconds * 1000)),
                    "tcp_user_timeout": "10000",
                    "jit": "off",
                },
            },
        )
        event.listen(self._engine.sync_engine, "checkout", _replace_if_closed)

    @asynccontextmanager
    async def transaction(self, workspaces: Iterable[int] = ()) -> AsyncIterator[AsyncConnection]:
        """One transaction that sees the rows of ``workspaces`` and commits unless an exception leaves the block.

        Raises RetryLater in place of errors for which the world is at fault (no connection, deadlock, serialization).
        When that happens at the end, nobody knows whether it was committed.
        """
        connected = False
        try:
            async with self._engine.begin() as connection:
                connected = True
                await see_workspaces(connection, workspaces)
                yield connection
        except (DBAPIError, PoolTimeout, OSError, *DRIVER_ERRORS) as exc:
            if is_world_at_fault(exc) or not connected:  # before the first statement nothing is about data
                raise RetryLater(f"PostgreSQL as {self.role}: {sentence_of(exc)}") from exc
            raise

    async def ping(self) -> None:
        """Raises RetryLater when PostgreSQL does not answer."""
        async with self.transaction() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        await self._engine.dispose()


def _replace_if_closed(connection: Any, *_: object) -> None:
    """A connection that the server has closed meanwhile. Nobody is asked: SQLAlchemy's ping takes three round trips
    before every transaction, and one that has just been answered may be dead as well."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError


async def see_workspaces(connection: AsyncConnection, workspaces: Iterable[int]) -> None:
    """Make the rows of these workspaces, and of no others, visible until the transaction ends."""
    await connection.execute(
        text("SELECT set_config('kizashi.workspaces', :numbers, true)"),
        {"numbers": ",".join(str(number) for number in sorted(set(workspaces)))},
    )


DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""SQLAlchemy wraps most of them; not the last one, which says that the server died in the middle of an exchange."""
WORLD_CLASSES = frozenset({"08", "40", "53", "55", "57", "58", "XX"})
"""SQLSTATE classes: connection, rollback (deadlock, serialization), resources, object not in state (lock timeout),
operator intervention, system error, internal error."""
WORLD_STATES = frozenset(
    {
        "25006",  # read-only: we are connected to a server that has just become, or not yet ceased to be, a standby
        "25P03",  # idle in transaction for too long
        "25P04",  # transaction too long
    }
)


def is_world_at_fault(exc: BaseException) -> bool:
    """Whether the same statements may succeed later. Everything else that the database refuses, it refuses as data."""
    if isinstance(exc, PoolTimeout | OSError):  # asyncio's and socket's TimeoutError are OSErrors too
        return True
    if isinstance(exc, DBAPIError) and exc.connection_invalidated:
        return True
    return any(_is_state_of_the_world(cause) for cause in _causes(exc))


def _is_state_of_the_world(exc: BaseException) -> bool:
    # A migration changed a table that a prepared statement knows: it is prepared anew the next time.
    if isinstance(exc, asyncpg.InvalidCachedStatementError | asyncpg.InternalClientError):
        return True
    state = getattr(exc, "sqlstate", None)
    return isinstance(state, str) and (state[:2] in WORLD_CLASSES or state in WORLD_STATES)


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    """SQLAlchemy wraps its dialect's error, which wraps asyncpg's, which may wrap the one that says why."""
    while exc is not None:
        yield exc
        exc = exc.__cause__


def sentence_of(exc: BaseException) -> str:
    """What went wrong, without the statement and its parameters."""
    original = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    told = original.__cause__ if isinstance(original.__cause__, asyncpg.PostgresError) else original
    return str(told).partition("\n")[0] or type(told).__name__
