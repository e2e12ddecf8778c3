"""What ingest asks of its database for one key or one source reads few rows, however many others there are."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

import asyncpg
import httpx

from libs.common.db import Database
from services.ingest.app import compose
from services.ingest.domain.recent import KEPT, RecentEvent, RecentReject
from services.ingest.store import recent
from tests.conftest import TestDatabase
from tests.integration.ingest.conftest import Tenant, at_work
from tests.rows_read import prepare_statistics, reads_at_most

MUCH = 30_000
BUSY = 40
"""Sources that are written to at once."""
TIMES = 10
"""More than PostgreSQL needs to plan a statement once for all."""

_OTHERS = [
    "INSERT INTO ingest.source (workspace_id, source_id, name) SELECT 1, 1000 + n, 'other-' || n "
    f"FROM generate_series(1, {MUCH // 10}) AS n",
    "INSERT INTO ingest.write_key (key_id, workspace_id, source_id, name, secret_hash, replaces) "
    f"SELECT 'other-' || n, 1, 1001 + n % {MUCH // 10}, 'other', decode(md5(n::text), 'hex'), "
    f"CASE WHEN n % 10 = 0 THEN 'other-' || n - 1 END FROM generate_series(1, {MUCH}) AS n",
    "INSERT INTO access.api_key (public_id, workspace_id, name, secret_hash, scopes, replaces) "
    "SELECT 'other-' || n, 2, 'other', '', '{admin}', CASE WHEN n % 10 = 0 THEN 'other-' || n - 1 END "
    f"FROM generate_series(1, {MUCH}) AS n",
    "INSERT INTO ingest.recent_event (workspace_id, source_id, key_id, noted_at, received_at, occurred_at, message_id, "
    f"message_id_sent, kind, event, flags, historical, strict) SELECT 1, 1001 + n % {MUCH // 10}, 'k', now(), now(), "
    f"now(), 'm', true, 'track', 'Used', '{{}}', false, false FROM generate_series(1, {MUCH}) AS n",
    "INSERT INTO ingest.recent_reject (workspace_id, source_id, key_id, noted_at, received_at, code, message, times, "
    f"original, original_bytes, historical, strict) SELECT 1, 1001 + n % {MUCH // 10}, 'k', now(), now(), 'c', 'm', 1, "
    f"'', 0, false, false FROM generate_series(1, {MUCH}) AS n",
]


async def _fill(owner: asyncpg.Connection) -> None:
    for statement in _OTHERS:
        await owner.execute(statement)
    await prepare_statistics(owner)


def _rows(source: int) -> tuple[RecentEvent, RecentReject]:
    now = datetime.now(UTC)
    event = RecentEvent(
        workspace_id=1,
        source_id=source,
        key_id="k",
        noted_at=now,
        received_at=now,
        occurred_at=now,
        message_id="m",
        message_id_sent=True,
        kind="track",
        event="Used",
        user_id="u",
        anonymous_id=None,
        account_id=None,
        account_rule=None,
        flags=(),
        historical=False,
        strict=False,
    )
    reject = RecentReject(
        workspace_id=1,
        source_id=source,
        key_id="k",
        noted_at=now,
        received_at=now,
        status=None,
        code="c",
        message="m",
        times=1,
        index=0,
        message_id=None,
        original=b"{}",
        original_bytes=2,
        historical=False,
        strict=False,
    )
    return event, reject


async def test_keys_and_sources_of_others_are_not_read(
    settings: None, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    await _fill(owner)
    async with (
        reads_at_most(1500, owner),
        # Without its tasks: once an hour all that came lately is looked through for what is too old.
        at_work(dataclasses.replace(compose(), tasks=())) as service,
        httpx.AsyncClient(
            transport=httpx.ASGITransport(service.app), base_url="http://ingest", headers=tenant.admin
        ) as client,
    ):
        for n in range(TIMES):
            await _ask(client, tenant, n)


async def _ask(client: httpx.AsyncClient, tenant: Tenant, n: int) -> None:
    """What people and products do, each thing once."""
    source = f"/v1/sources/{tenant.source}"
    keys: dict[str, dict[str, object]] = {
        f"{source}/write-keys": {"name": f"k{n}"},
        "/v1/api-keys": {"name": f"k{n}", "scopes": ["read"]},
    }
    answers = [await client.get(path) for path in (source, f"{source}/recent", f"{source}/rejects", *keys)]
    for path, body in keys.items():
        made = await client.post(path, json=body)
        key = f"{path}/{made.json()['id']}"
        answers += [made, await client.post(f"{key}/rotate", json={}), await client.delete(key)]
    sent = {"batch": [{"type": "track", "event": "Used", "userId": "u"}]}
    answers.append(await client.post("/v1/batch", json=sent, headers=tenant.writer))
    assert [answer.text for answer in answers if not answer.is_success] == []


async def test_what_came_lately_is_written_without_a_look_at_other_sources(
    database: TestDatabase, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    await _fill(owner)
    busy = [_rows(1001 + n) for n in range(BUSY)]
    loud = [_rows(tenant.source) for _ in range(KEPT + 5)]
    async with reads_at_most(TIMES * (2 * BUSY * 20 + 2 * KEPT), owner):
        worker = Database(database.url, role="kizashi_ingest_worker", schema="ingest", pool_size=1)
        for _ in range(TIMES):
            async with worker.transaction([1]) as connection:
                both = [*busy, *loud]
                await recent.write(connection, [event for event, _ in both], [reject for _, reject in both])
                assert len(await recent.events(connection, 1, tenant.source)) == KEPT
        await worker.close()
    for table in ("recent_event", "recent_reject"):
        assert await owner.fetchval(f"SELECT count(*) FROM ingest.{table}") == MUCH + TIMES * BUSY + KEPT
