"""Whether the database has the schema that this release expects, asked before anything else is."""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError

from libs.common.db import Database, text
from libs.common.errors import NotStarted, RetryLater
from libs.common.migrate import head_of

LOCKED_OUT = (
    asyncpg.InvalidParameterValueError,  # there is no such role
    asyncpg.InsufficientPrivilegeError,  # there is, but we may not take it
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidPasswordError,
)
"""What waiting does not mend."""


async def expect_schema(database: Database, schema: str) -> None:
    """Raises NotStarted when a migration is missing or nobody lets us in, RetryLater when PostgreSQL does not answer.

    A database that is ahead of us is fine: old code runs on the new schema until it is replaced.
    """
    needed, found = head_of(schema) or "", await revision_of(database, schema)
    if found is None or found < needed:  # revisions are numbered: health_0002, health_0003
        raise _behind(schema, found, needed)


async def revision_of(database: Database, schema: str) -> str | None:
    """Where the migrations of a schema are; None when nobody has migrated it. Raises as ``expect_schema`` does."""
    try:
        async with database.transaction() as connection:
            row = await connection.execute(text(f"SELECT version_num FROM {schema}.schema_version"))
            found: str | None = row.scalar_one_or_none()
            return found
    except DBAPIError:  # there is no such table
        return None
    except RetryLater as exc:
        if (refusal := _refusal(exc)) is None:
            raise
        raise NotStarted(
            f"PostgreSQL does not let {schema} in as {database.role} ({refusal}); run the migrations (python -m "
            "libs.common.migrate), or correct KIZASHI_DATABASE_URL."
        ) from exc


def _behind(schema: str, found: str | None, needed: str) -> NotStarted:
    return NotStarted(
        f"The schema {schema} of the database is at {found or 'no revision'}, and this release needs {needed}; run the "
        "migrations (python -m libs.common.migrate)."
    )


def _refusal(exc: BaseException | None) -> BaseException | None:
    while exc is not None and not isinstance(exc, LOCKED_OUT):
        exc = exc.__cause__
    return exc
