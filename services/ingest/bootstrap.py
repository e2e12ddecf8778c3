"""Makes a workspace with its first source, write key and API key, and prints them as one line of JSON.

python -m services.ingest.bootstrap --workspace NAME --source NAME     (as KIZASHI_OWNER_DATABASE_URL)

{"workspace":1,"source":1,"write_key":"kzw_…","api_key":"kzs_…"}: keys are shown this once; the API key has all scopes.

With --api-key in place of --source: another API key for a workspace that exists, when all that could make one are lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import asyncpg

from libs.common.api_keys import Scope, new_api_key
from libs.common.database_urls import owner_database_url
from libs.common.db import asyncpg_url
from libs.common.errors import NotStarted
from services.ingest.write_keys import new_write_key


@dataclass(frozen=True)
class Installed:
    workspace: int
    source: int
    write_key: str
    api_key: str


@dataclass(frozen=True)
class LetIn:
    workspace: int
    api_key: str


async def install(owner_url: str, workspace_name: str, source_name: str) -> Installed:
    """All of it or nothing. Raises NotStarted when the workspace exists or the database does not do as it is told."""
    try:
        async with _transaction(owner_url) as owner:
            return await _install(owner, workspace_name, source_name)
    except asyncpg.UniqueViolationError as exc:
        raise NotStarted(
            f"There is a workspace {workspace_name!r} already; choose another name, or make further sources and keys "
            "over the API."
        ) from exc
    except (OSError, TimeoutError, asyncpg.PostgresError) as exc:
        raise NotStarted(f"The workspace cannot be made: {exc}") from exc


async def let_in(owner_url: str, workspace_name: str) -> LetIn:
    """Raises NotStarted when there is no such workspace or the database does not do as it is told."""
    try:
        async with _transaction(owner_url) as owner:
            # Policies bind the owner of the tables too, unless it is a superuser; each workspace has had a key.
            await owner.execute(
                "SELECT set_config('kizashi.workspaces', string_agg(DISTINCT workspace_id::text, ','), true) "
                "FROM access.api_key"
            )
            workspace = await owner.fetchval(
                "SELECT workspace_id FROM access.workspace WHERE name = $1", workspace_name
            )
            if workspace is None:
                raise NotStarted(f"There is no workspace {workspace_name!r}; --source NAME makes one.")
            return LetIn(workspace, await _add_api_key(owner, workspace, "made by the database's owner"))
    except (OSError, TimeoutError, asyncpg.PostgresError) as exc:
        raise NotStarted(f"The API key cannot be made: {exc}") from exc


@asynccontextmanager
async def _transaction(owner_url: str) -> AsyncIterator[asyncpg.Connection]:
    owner = await asyncpg.connect(asyncpg_url(owner_url), timeout=10, command_timeout=10)
    try:
        async with owner.transaction():
            yield owner
    finally:
        await owner.close()


async def _install(owner: asyncpg.Connection, workspace_name: str, source_name: str) -> Installed:
    workspace = await owner.fetchval("SELECT nextval(pg_get_serial_sequence('access.workspace', 'workspace_id'))")
    # Policies bind the owner of the tables too, unless it is a superuser.
    await owner.execute("SELECT set_config('kizashi.workspaces', $1, true)", str(workspace))
    await owner.execute("INSERT INTO access.workspace (workspace_id, name) VALUES ($1, $2)", workspace, workspace_name)
    source = await owner.fetchval(
        "INSERT INTO ingest.source (workspace_id, name) VALUES ($1, $2) RETURNING source_id", workspace, source_name
    )
    write_key = new_write_key()
    await owner.execute(
        "INSERT INTO ingest.write_key (key_id, workspace_id, source_id, name, secret_hash) "
        "VALUES ($1, $2, $3, 'first', $4)",
        write_key.key_id,
        workspace,
        source,
        write_key.secret_hash,
    )
    api_key = await _add_api_key(owner, workspace, "first")
    return Installed(workspace=workspace, source=source, write_key=write_key.key, api_key=api_key)


async def _add_api_key(owner: asyncpg.Connection, workspace: int, name: str) -> str:
    """With all scopes."""
    made = new_api_key()
    await owner.execute(
        "INSERT INTO access.api_key (public_id, workspace_id, name, secret_hash, scopes) VALUES ($1, $2, $3, $4, $5)",
        made.public_id,
        workspace,
        name,
        made.secret_hash,
        [scope.value for scope in Scope],
    )
    return made.token


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m services.ingest.bootstrap",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workspace", required=True, help="the name of the workspace")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--source", help="the name of its first source")
    wanted.add_argument("--api-key", action="store_true", help="it exists, and is given another API key")
    arguments = parser.parse_args()
    workspace = arguments.workspace
    try:
        url = owner_database_url()
        if arguments.api_key:
            made = asdict(asyncio.run(let_in(url, workspace)))
        else:
            made = asdict(asyncio.run(install(url, workspace, arguments.source)))
    except NotStarted as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - the one sentence for the operator
        sys.exit(2)
    print(json.dumps(made, separators=(",", ":")))  # noqa: T201 - what it was asked for


if __name__ == "__main__":
    main()
