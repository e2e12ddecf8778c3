"""Further write keys of a tenant's source."""

from __future__ import annotations

import asyncpg

from services.ingest.write_keys import NewWriteKey, new_write_key
from tests.integration.ingest.conftest import Tenant


async def add_write_key(owner: asyncpg.Connection, tenant: Tenant, events_per_s: int | None = None) -> NewWriteKey:
    """Without a quota of its own unless one is given."""
    made = new_write_key()
    await owner.execute(
        "INSERT INTO ingest.write_key (key_id, workspace_id, source_id, name, secret_hash, events_per_s) "
        "VALUES ($1, $2, $3, 'another', $4, $5)",
        made.key_id,
        tenant.workspace,
        tenant.source,
        made.secret_hash,
        events_per_s,
    )
    return made
