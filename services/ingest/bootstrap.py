"""Makes a workspace with its first source, write key and API key, and prints them as one line of JSON.

python -m services.ingest.bootstrap --workspace NAME --source NAME     (as KIZASHI_OWNER_DATABASE_URL)

{"workspace":1,"source":1,"write_key":"kzw_…","api_key":"kzs_…"}: keys are shown this once; the API key has all scopes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
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


async def install(owner_url: str, workspace_name: str, source_name: str) -> Installed:
    """All of it or nothing. Raises NotStarted when the workspace exists or the database does not do as it is told."""
    try:
        owner = await asyncpg.connect(asyncpg_url(owner_url), timeout=10, command_timeout=10)
        try:
            async with owner.transaction():
                return await _install(owner, workspace_name, source_name)
        finally:
            await owner.close()
    except asyncpg.UniqueViolationError as exc:
        raise NotStarted(
            f"There is a workspace {workspace_name!r} already; choose another name, or make further sources and keys "
            "over the API."
        ) from exc
    except (OSError, TimeoutError, asyncpg.PostgresError) as exc:
        raise NotStarted(f"The workspace cannot be made: {exc}") from exc


async def _install(owner: asyncpg.Connection, workspace_name: str, source_name: str) -> Installed:
    workspace = await owner.fetchval("SELECT nextval(pg_get_serial_sequence('access.workspace', 'workspace_id'))")
    # Policies bind the owner of the tables too, unless it is a superuser.
    await owner.execute("SELECT set_config('kizashi.workspaces', $1, true)", str(workspace))
    await owner.execute("INSERT INTO access.workspace (workspace_id, name) VALUES ($1, $2)", workspace, workspace_name)
    source = await owner.fetchval(
        "INSERT INTO ingest.source (workspace_id, name) VALUES ($1, $2) RETURNING source_id", workspace, source_name
    )
    write_key, api_key = new_write_key(), new_api_key()
    await owner.execute(
        "INSERT INTO ingest.write_key (key_id, workspace_id, source_id, name, secret_hash) "
        "VALUES ($1, $2, $3, 'first', $4)",
        write_key.key_id,
        workspace,
        source,
        write_key.secret_hash,
    )
    await owner.execute(
        "INSERT INTO access.api_key (public_id, workspace_id, name, secret_hash, scopes) "
        "VALUES ($1, $2, 'first', $3, $4)",
        api_key.public_id,
        workspace,
        api_key.secret_hash,
        [scope.value for scope in Scope],
    )
    return Installed(workspace=workspace, source=source, write_key=write_key.key, api_key=api_key.token)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.ingest.bootstrap", description=__doc__)
    parser.add_argument("--workspace", required=True, help="the name of the workspace")
    parser.add_argument("--source", required=True, help="the name of its first source")
    arguments = parser.parse_args()
    try:
        installed = asyncio.run(install(owner_database_url(), arguments.workspace, arguments.source))
    except NotStarted as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - the one sentence for the operator
        sys.exit(2)
    print(json.dumps(asdict(installed), separators=(",", ":")))  # noqa: T201 - what it was asked for


if __name__ == "__main__":
    main()
