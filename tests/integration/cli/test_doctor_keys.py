"""`kizashi doctor` sees the end of a write key come, by which products lose events, and a workspace without admin."""

from __future__ import annotations

import asyncpg

from cli.imports.write_key import KEY_NAME
from tests.integration.cli.conftest import Doctor

KEYS = (
    ("soon", "1 day"),
    ("ended", "-1 day"),
    ("later", "15 days"),
    ("forgotten", "-31 days"),
    ("for_ever", None),
    ("rotated", "1 day"),
    ("revoked", "1 day"),
    ("imports", "1 day"),
    ("imported", "-1 day"),
)


async def test_a_key_that_ends_is_told_before_and_after(owner: asyncpg.Connection, doctor: Doctor) -> None:
    await owner.execute("INSERT INTO ingest.source (workspace_id, source_id, name) VALUES (1, 1, 'Web app')")
    await owner.executemany(
        "INSERT INTO ingest.write_key (key_id, workspace_id, source_id, name, secret_hash, expires_at) "
        "VALUES ($1, 1, 1, 'web', $1::text::bytea, now() + $2::text::interval)",
        KEYS,
    )
    await owner.execute("UPDATE ingest.write_key SET replaces = 'rotated' WHERE key_id = 'for_ever'")
    await owner.execute("UPDATE ingest.write_key SET revoked_at = now() WHERE key_id = 'revoked'")
    await owner.execute("UPDATE ingest.write_key SET name = $1 WHERE key_id IN ('imports', 'imported')", KEY_NAME)
    seen = await doctor.look("--no-providers")
    [ends], [ended] = seen.of("write_key_ends"), seen.of("write_key_ended")
    assert ends.startswith("The write key web (soon) of source 1 of One ends on ")
    assert "`kizashi keys rotate soon`, or give it more time" in ends
    assert ended.startswith("The write key web (ended) of source 1 of One ended on ")
    assert "`kizashi keys change ended --expires 14d` lets it work again" in ended
    assert not seen.of("no_admin_key")


async def test_a_workspace_that_nobody_administers_is_told(owner: asyncpg.Connection, doctor: Doctor) -> None:
    await owner.execute("UPDATE access.workspace SET name = 'One & only' WHERE workspace_id = 1")
    await owner.execute("UPDATE access.api_key SET scopes = '{read}'")
    [told] = (await doctor.look("--no-providers")).of("no_admin_key")
    assert told.endswith("Make one: python -m services.ingest.bootstrap --workspace 'One & only' --api-key")
