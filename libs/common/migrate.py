"""Brings a database to the newest schema: the shared one first, then each service's own, each with its own history.

python -m libs.common.migrate          (as KIZASHI_OWNER_DATABASE_URL, which owns everything and serves nothing)

Where KIZASHI_DATABASE_PASSWORD is given, the user that services log in as gets it.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from libs.common.database_urls import owner_database_url
from libs.common.db import sqlalchemy_url
from libs.common.ddl import ensure_role
from libs.common.errors import NotStarted
from libs.common.ownership import lock_number
from libs.common.scram import scram_verifier
from libs.common.secret_files import secrets_by_file
from libs.common.settings import SERVICES

ROOT = Path(__file__).parents[2]
LOGIN = "kizashi"
"""The user that services log in as. It may take their roles and has no right of its own."""


def version_folders() -> dict[str, Path]:
    """Schema -> the folder of its migrations, in the order in which they run."""
    shared = {name: ROOT / "libs" / "common" / "migrations" / name for name in ("access", "log")}
    return shared | {name: ROOT / "services" / name / "migrations" for name in SERVICES}


def _config(schema: str, folder: Path, connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "libs" / "common" / "migrations"))
    config.set_main_option("version_locations", str(folder))
    config.set_main_option("path_separator", "os")
    config.attributes.update(schema=schema, connection=connection)
    return config


def head_of(schema: str) -> str | None:
    """The revision that the code of this checkout expects of a schema."""
    return ScriptDirectory.from_config(_config(schema, version_folders()[schema])).get_current_head()


async def migrate(owner_url: str, login: str = LOGIN, password: str | None = None) -> None:
    """Run what is missing, under a lock, and let ``login`` (made if missing) take the roles of services and log.

    A ``password`` is the login's from now on; without one it keeps what it has. Raises NotStarted when the database
    cannot be reached or changed.
    """
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", login):
        raise NotStarted(f"{login!r} is no name for a PostgreSQL user; use lower-case letters, digits and _.")
    engine = create_async_engine(sqlalchemy_url(owner_url), poolclass=NullPool, connect_args={"timeout": 10})
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": lock_number("migrate")})
            # A statement that waits for a table makes everybody behind it wait too.
            await connection.execute(text("SET LOCAL lock_timeout = '10s'"))
            await connection.run_sync(_upgrade_all)
            await connection.execute(text(ensure_role(login, "LOGIN NOINHERIT")))
            if password is not None:
                await connection.exec_driver_sql(f"ALTER ROLE {login} PASSWORD '{_verifier_of(password)}'")
            for name in SERVICES:
                await connection.execute(
                    text(f"GRANT kizashi_{name}_api, kizashi_{name}_worker TO {login} WITH INHERIT FALSE")
                )
            await connection.execute(text(f"GRANT kizashi_log TO {login} WITH INHERIT FALSE"))
    except (SQLAlchemyError, OSError, TimeoutError) as exc:
        raise NotStarted(f"The database cannot be migrated: {exc}") from exc
    finally:
        await engine.dispose()


def _verifier_of(password: str) -> str:
    try:
        return scram_verifier(password)
    except ValueError as exc:
        raise NotStarted(f"KIZASHI_DATABASE_PASSWORD {exc}.") from exc


def _password_of_login() -> str | None:
    return {**os.environ, **secrets_by_file()}.get("KIZASHI_DATABASE_PASSWORD") or None


def _upgrade_all(connection: Connection) -> None:
    for schema, folder in version_folders().items():
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
        command.upgrade(_config(schema, folder, connection), "heads")


if __name__ == "__main__":
    try:
        asyncio.run(migrate(owner_database_url(), password=_password_of_login()))
    except NotStarted as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - the one sentence for the operator
        sys.exit(2)
