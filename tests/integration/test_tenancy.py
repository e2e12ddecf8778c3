"""Workspace isolation, seen from the catalogue: no table of a tenant without a policy, no role that could pass one."""

from __future__ import annotations

import asyncpg
import pytest

from libs.common.ddl import CLAIM_TABLES
from libs.common.settings import SERVICES
from tests.conftest import TestDatabase

SCHEMAS = ("access", "log", *SERVICES)

SYSTEM_TABLES = {
    # Bookkeeping of the event log and of the loop: no row belongs to one workspace alone.
    "schema_version": "Alembic's own",
    "consumer_position": "how far each partition has been read",
    "position_move": "who moved which position",
    "outbox": "records on their way to the log",
    "dead_letter": "may belong to no workspace at all; its API filters by workspace",
    "claim_day": "which day a claim table holds",
    **{f"claim_{slot}": "hashes of event ids" for slot in range(CLAIM_TABLES)},
    # Key look-ups find the workspace, so none can be known before.
    "api_key": "found by its public id",
    "write_key": "found by its hash",
    # Queues are worked across workspaces; the work itself then sees one.
    "schedule": "which account is due when",
    "dirty": "which account has news",
    "request": "which user has news",
    "known_definition": "what each version of a playbook says; the files are those of the installation",
    "lane": "when the next message may go to a place that is known by a hash",
}


@pytest.fixture
async def owner(database: TestDatabase) -> asyncpg.Connection:
    return await asyncpg.connect(database.owner_url)


async def _tables(owner: asyncpg.Connection) -> list[asyncpg.Record]:
    rows: list[asyncpg.Record] = await owner.fetch(
        """
        SELECT n.nspname AS schema, c.relname AS name, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
               (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) AS policies,
               (SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                WHERE i.indrelid = c.oid AND i.indisprimary) AS leads
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY ($1)
        """,
        list(SCHEMAS),
    )
    return rows


async def test_every_table_of_a_tenant_is_behind_a_forced_policy(owner: asyncpg.Connection) -> None:
    naked = [
        f"{table['schema']}.{table['name']}"
        for table in await _tables(owner)
        if table["schema"] != "log"
        and table["name"] not in SYSTEM_TABLES
        and not (table["enabled"] and table["forced"] and table["policies"])
    ]
    assert naked == []


async def test_workspace_leads_the_primary_key_of_every_tenant_table(owner: asyncpg.Connection) -> None:
    wrong = [
        f"{table['schema']}.{table['name']} ({table['leads']})"
        for table in await _tables(owner)
        if table["enabled"] and table["leads"] != "workspace_id"
    ]
    assert wrong == []


async def test_the_walk_sees_a_table_without_a_policy(owner: asyncpg.Connection) -> None:
    await owner.execute("CREATE TABLE health.forgotten (workspace_id bigint PRIMARY KEY)")
    assert [t["name"] for t in await _tables(owner) if t["name"] == "forgotten" and not t["enabled"]] == ["forgotten"]


async def test_the_roles_of_services_own_nothing_and_bypass_nothing(owner: asyncpg.Connection) -> None:
    roles = await owner.fetch(
        "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, "
        "(SELECT count(*) FROM pg_class WHERE relowner = r.oid) AS owned FROM pg_roles r WHERE rolname LIKE 'kizashi%'"
    )
    expected = {f"kizashi_{name}_{kind}" for name in SERVICES for kind in ("api", "worker")}
    assert {role["rolname"] for role in roles} >= expected
    powers = ("rolsuper", "rolbypassrls", "rolcreaterole", "owned")
    assert [(role["rolname"], power) for role in roles for power in powers if role[power]] == []


async def test_the_login_itself_sees_no_table(owner: asyncpg.Connection, database: TestDatabase) -> None:
    login = await asyncpg.connect(database.url)
    for table in await _tables(owner):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.fetch(f"SELECT * FROM {table['schema']}.{table['name']} LIMIT 1")
    await login.close()
