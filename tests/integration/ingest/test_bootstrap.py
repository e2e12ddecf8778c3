"""The first workspace of an installation, made by one command."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import asyncpg
import httpx
import pytest

from libs.common.api_keys import Scope, authenticate
from libs.common.db import Database
from tests.conftest import TestDatabase
from tests.integration.ingest.conftest import Tenant


async def bootstrap(database: TestDatabase, workspace: str, *wanted: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "services.ingest.bootstrap", "--workspace", workspace, *(wanted or ("--source", "Product"))),
        env=dict(os.environ) | {"KIZASHI_OWNER_DATABASE_URL": database.owner_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


@pytest.fixture(autouse=True)
async def _two_workspaces_have_numbers(owner: asyncpg.Connection) -> None:
    await owner.execute("SELECT setval(pg_get_serial_sequence('access.workspace', 'workspace_id'), 2)")


async def test_it_prints_keys_that_work(database: TestDatabase, client: httpx.AsyncClient) -> None:
    status, output, errors = await bootstrap(database, "日本 Inc.")
    assert (status, errors, output.count("\n")) == (0, "", 1)
    made = json.loads(output)
    assert (made["workspace"], made["source"]) == (3, 1)
    api = Database(database.url, role="kizashi_ingest_api", schema="ingest")
    principal = await authenticate(api, f"Bearer {made['api_key']}")
    await api.close()
    assert (principal.workspace, principal.scopes) == (3, frozenset(Scope))
    track = {"event": "e", "userId": "u", "writeKey": made["write_key"]}
    assert (await client.post("/v1/track", json=track)).status_code == 200
    headers = {"authorization": f"Bearer {made['api_key']}"}
    assert [source["name"] for source in (await client.get("/v1/sources", headers=headers)).json()] == ["Product"]


async def test_a_workspace_that_exists_is_left_alone(database: TestDatabase, owner: asyncpg.Connection) -> None:
    status, output, errors = await bootstrap(database, "One")
    assert (status, output) == (2, "")
    assert errors == (
        "There is a workspace 'One' already; choose another name, or make further sources and keys over the API.\n"
    )
    assert await owner.fetchval("SELECT count(*) FROM ingest.write_key") == 0


async def test_who_lost_every_key_is_let_in_again(
    database: TestDatabase, owner: asyncpg.Connection, client: httpx.AsyncClient, tenant: Tenant, neighbour: Tenant
) -> None:
    await owner.execute("UPDATE access.api_key SET revoked_at = now()")
    status, output, errors = await bootstrap(database, "Two", "--api-key")
    assert (status, errors) == (0, "")
    made = json.loads(output)
    assert sorted(made) == ["api_key", "workspace"]
    headers = {"authorization": f"Bearer {made['api_key']}"}
    sources = (await client.get("/v1/sources", headers=headers)).json()
    assert (made["workspace"], [source["id"] for source in sources]) == (2, [neighbour.source])
    status, _, errors = await bootstrap(database, "Three", "--api-key")
    assert (status, errors) == (2, "There is no workspace 'Three'; --source NAME makes one.\n")


async def test_a_database_that_is_not_there_is_one_sentence(database: TestDatabase) -> None:
    nowhere = TestDatabase("nowhere", "postgresql://nobody@127.0.0.1:1/nowhere", "")
    status, _, errors = await bootstrap(nowhere, "New")
    assert status == 2
    assert errors.startswith("The workspace cannot be made: ")
    assert errors.count("\n") == 1
