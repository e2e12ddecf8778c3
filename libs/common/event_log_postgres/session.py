"""One PostgreSQL connection of the event log: made when needed, dropped when in doubt, never waited for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import asyncpg

from libs.common.db import asyncpg_url, is_world_at_fault
from libs.common.errors import NotStarted, RetryLater

ROLE = "kizashi_log"
DEADLINE_SECONDS = 5.0
"""For one call, connecting included."""
SERVER_DIED = asyncpg.InternalClientError
"""What asyncpg raises, beside its own errors, when the server is killed in the middle of an exchange."""
READING = {
    "synchronous_commit": "off",  # best-effort notes are all that who reads writes
    # Plans must not depend on how full a day's table was when they were made.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}
"""Settings of a session that looks into the log."""
MOVED_STATE = "55000"
"""SQLSTATE of an append to a log that was moved; the server's sentence says where to."""


class LogSession:
    """Runs one statement at a time; a statement is a transaction.

    After an error or a missed deadline the connection is dropped and the next statement makes a new one, so the
    session survives a restart of PostgreSQL. Nobody is told whether a statement that failed had an effect.
    """

    def __init__(self, url: str, application_name: str, settings: Mapping[str, str]) -> None:
        self._url = asyncpg_url(url)
        self._settings = {
            "application_name": application_name,
            "role": ROLE,
            "search_path": "pg_catalog, pg_temp",
            "timezone": "UTC",
            "jit": "off",
            "statement_timeout": str(int(DEADLINE_SECONDS * 1000)),
            "transaction_timeout": str(int(DEADLINE_SECONDS * 1000)),  # also for one that freezes in a statement
            "tcp_user_timeout": str(int(DEADLINE_SECONDS * 1000)),
            **settings,
        }
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()
        self._closed = False

    async def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Raises RetryLater when PostgreSQL does not answer in time, NotStarted when it is not set up for the log."""
        try:
            async with asyncio.timeout(DEADLINE_SECONDS), self._turn:
                return await self._fetch(statement, arguments)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, SERVER_DIED) as exc:
            if isinstance(exc, asyncpg.PostgresError) and not is_world_at_fault(exc):
                raise _named(exc) from exc
            if isinstance(exc, asyncpg.PostgresError) and exc.sqlstate == MOVED_STATE:
                raise RetryLater(str(exc)) from exc
            raise RetryLater(f"the event log's PostgreSQL does not answer: {str(exc) or 'deadline passed'}") from exc

    async def _fetch(self, statement: str, arguments: tuple[object, ...]) -> list[asyncpg.Record]:
        if self._closed:
            raise RetryLater("the event log is closed")
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._url, timeout=DEADLINE_SECONDS, server_settings=self._settings
            )
        try:
            rows: list[asyncpg.Record] = await self._connection.fetch(statement, *arguments)
        except BaseException:  # also when cancelled: asyncpg would ask the server to cancel, and wait for its answer
            self.disconnect()
            raise
        return rows

    def close(self) -> None:
        """For good and without waiting for the server, which notices at once if it lives."""
        self._closed = True
        self.disconnect()

    def disconnect(self) -> None:
        """The next statement connects anew."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _named(exc: asyncpg.PostgresError) -> Exception:
    """A refusal in the words of the operator, if it says that the database is not set up for the log."""
    not_set_up = (
        asyncpg.InvalidCatalogNameError,
        asyncpg.InvalidSchemaNameError,
        asyncpg.UndefinedTableError,
        asyncpg.UndefinedColumnError,
        asyncpg.UndefinedFunctionError,
        asyncpg.InsufficientPrivilegeError,
        asyncpg.InvalidParameterValueError,  # the role does not exist
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidPasswordError,
    )
    if isinstance(exc, not_set_up):
        return NotStarted(
            f"The database of the event log is not ready for it ({exc}); run the migrations (python -m "
            "libs.common.migrate) or correct KIZASHI_LOG_URL."
        )
    return exc
