"""Did it arrive? What people see of what was taken and refused, and what that may cost: nothing."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import asyncpg
import httpx
import pytest

from libs.common.api_keys import Scope
from libs.common.db import Database
from libs.common.migrate import migrate
from libs.common.testing import eventually
from services.ingest.domain.recent import KEPT, ORIGINAL_BYTES
from services.ingest.store import recent as store
from tests.conftest import LOGIN, OWNER, TestDatabase
from tests.faults.dependencies import Postgres, freeze, thaw
from tests.integration.ingest.conftest import Start, Tenant, add_api_key, add_tenant

CALL = {"type": "track", "event": "Report Exported", "userId": "u1"}


async def seen(
    client: httpx.AsyncClient, tenant: Tenant, page: str, until: Callable[[list[dict[str, Any]]], bool] = bool
) -> list[dict[str, Any]]:
    """The rows of a page, newest first, once they are as they should be."""

    async def asked() -> list[dict[str, Any]]:
        answer = await client.get(f"/v1/sources/{tenant.source}/{page}", headers=tenant.admin)
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["events" if page == "recent" else page]
        return rows if until(rows) else []

    return await eventually(asked, what=f"{page} as it should be")


def count(number: int) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda rows: len(rows) == number


async def test_an_event_that_was_taken_is_shown_with_its_account_and_rule(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    sent = [
        {**CALL, "messageId": "m1", "context": {"groupId": "acme"}, "timestamp": "2026-01-02T03:04:05Z"},
        {**CALL, "messageId": "m2", "timestamp": "no time"},
        {"type": "page", "name": "Docs", "anonymousId": "a1"},
    ]
    await client.post("/v1/batch", json={"batch": sent}, headers=tenant.writer)
    await client.post("/v1/import", json={"batch": [CALL]}, headers={**tenant.writer, "x-strict-mode": "1"})
    history, page, second, first = await seen(client, tenant, "recent", count(4))
    assert first == {
        "number": first["number"],
        "received_at": first["received_at"],
        "occurred_at": "2026-01-02T03:04:05Z",
        "message_id": "m1",
        "message_id_sent": True,
        "kind": "track",
        "event": "Report Exported",
        "user_id": "u1",
        "anonymous_id": None,
        "account_id": "acme",
        "account_rule": "context.groupId",
        "flags": [],
        "lane": "live",
        "strict": False,
        "write_key": first["write_key"],
    }
    assert (second["account_id"], second["account_rule"], second["flags"]) == (None, None, ["timestamp_unreadable"])
    assert (page["event"], page["anonymous_id"], page["message_id_sent"]) == ("Page Viewed", "a1", False)
    assert (history["lane"], history["strict"]) == ("import", True)


async def test_a_refused_event_is_shown_with_its_bytes_and_what_to_do(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    long = {"type": "track", "userId": "u1", "properties": {"note": "é" * 5000}}
    await client.post("/v1/batch", json={"batch": [CALL, long]}, headers=tenant.writer)
    await client.post("/v1/track", content=b'{"event": "x", "messageId": "m\\ud800"}', headers=tenant.writer)
    single, in_batch = await seen(client, tenant, "rejects", count(2))
    assert (in_batch["index"], in_batch["code"], in_batch["status"], in_batch["times"]) == (1, "missing_event", None, 1)
    assert in_batch["message"] == "A track call needs `event`, the name of what happened."
    assert in_batch["remedy"] == 'Name what happened, as in track(userId, "Report Exported").'
    original = in_batch["original"].encode()
    assert (in_batch["original_encoding"], ORIGINAL_BYTES - 4 < len(original) <= ORIGINAL_BYTES) == ("utf-8", True)
    assert json.dumps(long, ensure_ascii=False, separators=(",", ":")).encode().startswith(original)
    assert in_batch["original_bytes"] > ORIGINAL_BYTES
    assert (single["index"], single["code"], single["message_id"]) == (0, "missing_user", "m\N{REPLACEMENT CHARACTER}")


async def test_who_may_read_what_was_refused_sees_no_write_key(client: httpx.AsyncClient, tenant: Tenant) -> None:
    keyed = {"writeKey": tenant.write_key}
    await client.post("/v1/track", json={**keyed, "userId": "u1"})
    await client.post("/v1/batch", json={**keyed, "batch": [{**keyed, "type": "none"}]})
    await client.post("/v1/batch", json={**keyed, "batch": 3}, headers=tenant.writer)
    await client.post("/v1/batch", content=json.dumps(keyed)[:-10], headers=tenant.writer)
    originals = [row["original"] for row in await seen(client, tenant, "rejects", count(4))]
    assert [original.partition('"writeKey":')[2].strip() for original in originals] == [
        '"…',
        '"…","batch":3}',
        '"…","type":"none"}',
        '"…","userId":"u1"}',
    ]


async def test_whole_requests_that_were_refused_are_shown_once_for_all_alike(
    client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    strict = {**tenant.writer, "x-strict-mode": "1"}
    binary = bytes(range(128, 256))
    await client.post("/v1/batch", content=binary, headers={**tenant.writer, "content-encoding": "gzip"})
    await client.post("/v1/batch", content=b"\xff{broken", headers=tenant.writer)
    await client.post("/v1/batch", content=gzip.compress(b"x" * 6_000_000), headers=tenant.writer)
    for _ in range(3):
        await client.post("/v1/batch", json={"batch": [CALL, {**CALL, "type": "none"}]}, headers=strict)
    await owner.execute("UPDATE ingest.write_key SET origins = '{https://app.example}'")
    foreign = {**tenant.writer, "origin": "https://other.example"}
    assert (await client.post("/v1/track", json=CALL, headers=foreign)).status_code == 403
    await owner.execute("UPDATE ingest.write_key SET events_per_s = 1")
    assert (await client.post("/v1/batch", json={"batch": [CALL] * 20}, headers=tenant.writer)).status_code == 200
    assert (await client.post("/v1/track", json=CALL, headers=tenant.writer)).status_code == 429

    def complete(rows: list[dict[str, Any]]) -> bool:
        return {row["code"] for row in rows} == {
            "bad_encoding",
            "not_json",
            "body_too_large",
            "strict_mode",
            "unknown_type",
            "origin_not_allowed",
            "over_quota",
        }

    rows = await seen(client, tenant, "rejects", complete)
    status = {row["code"]: row["status"] for row in rows}
    assert (status["not_json"], status["body_too_large"], status["origin_not_allowed"]) == (400, 413, 403)
    assert sum(row["times"] for row in rows if row["code"] == "strict_mode") == 3
    of_strict = [row for row in rows if row["code"] == "unknown_type"]
    assert [(row["index"], row["status"], row["strict"]) for row in of_strict] == [(1, None, True)] * 3
    unreadable = next(row for row in rows if row["code"] == "not_json")
    assert (unreadable["original_encoding"], base64.b64decode(unreadable["original"])) == ("base64", b"\xff{broken")
    assert all(row["remedy"] for row in rows)
    assert len(await seen(client, tenant, "recent")) == 20, "of the others nothing was taken"


async def test_a_neighbour_and_a_key_that_may_not_read_see_nothing(
    client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant, neighbour: Tenant
) -> None:
    await client.post("/v1/batch", json={"batch": [CALL, {}]}, headers=tenant.writer)
    await seen(client, tenant, "recent")
    writer = await add_api_key(owner, tenant.workspace, Scope.WRITE)
    for page in ("recent", "rejects"):
        path = f"/v1/sources/{tenant.source}/{page}"
        foreign = await client.get(path, headers=neighbour.admin)
        assert (foreign.status_code, foreign.json()["code"]) == (404, "unknown_source")
        assert (await client.get(path, headers={"authorization": f"Bearer {writer}"})).status_code == 403


async def test_a_cursor_gives_what_is_newer_also_after_a_crash(
    client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    path = f"/v1/sources/{tenant.source}/recent"

    async def after(cursor: int) -> tuple[list[str], int]:
        answer = (await client.get(path, params={"after": cursor}, headers=tenant.admin)).json()
        return [event["message_id"] for event in answer["events"]], answer["cursor"]

    await client.post("/v1/track", json={**CALL, "messageId": "m1"}, headers=tenant.writer)
    await seen(client, tenant, "recent", count(1))
    _, cursor = await after(0)
    assert await after(cursor) == ([], cursor)
    await client.post("/v1/track", json={**CALL, "messageId": "m2"}, headers=tenant.writer)
    await seen(client, tenant, "recent", count(2))
    assert (await after(cursor))[0] == ["m2"]
    await owner.execute("TRUNCATE ingest.recent_event RESTART IDENTITY")  # as a crash does
    await client.post("/v1/track", json={**CALL, "messageId": "m3"}, headers=tenant.writer)
    await seen(client, tenant, "recent", count(1))
    assert await after(cursor + 1) == (["m3"], 1)


async def test_the_last_hundred_of_two_processes_are_kept(start: Start, tenant: Tenant) -> None:
    first, second = await start(), await start()
    async with httpx.AsyncClient(base_url=first.url) as one, httpx.AsyncClient(base_url=second.url) as other:
        for number in range(3):
            for client, name in ((one, "one"), (other, "other")):
                batch = [{**CALL, "messageId": f"{name}-{number}-{place}"} for place in range(60)]
                assert (await client.post("/v1/batch", json={"batch": batch}, headers=tenant.writer)).status_code == 200

        def both(rows: list[dict[str, Any]]) -> bool:
            ids = {row["message_id"] for row in rows}
            return {"one-2-59", "other-2-59"} <= ids

        rows = await seen(one, tenant, "recent", both)
        assert len(rows) == KEPT
        assert rows == await seen(other, tenant, "recent")
        times = [row["received_at"] for row in rows]
        assert times == sorted(times, reverse=True)


async def test_what_is_seven_days_old_is_not_shown_and_goes(
    database: TestDatabase, client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    await client.post("/v1/batch", json={"batch": [CALL, {}]}, headers=tenant.writer)
    await seen(client, tenant, "recent")
    for table in ("recent_event", "recent_reject"):
        await owner.execute(f"UPDATE ingest.{table} SET noted_at = now() - interval '7 days 1 second'")
    for page in ("recent", "rejects"):
        shown = (await client.get(f"/v1/sources/{tenant.source}/{page}", headers=tenant.admin)).json()
        assert shown["events" if page == "recent" else page] == []
    worker = Database(database.url, role="kizashi_ingest_worker", schema="ingest")
    async with worker.transaction() as connection:
        workspaces = await store.workspaces(connection)
    async with worker.transaction(workspaces) as connection:
        await store.forget(connection)
    await worker.close()
    left = "SELECT (SELECT count(*) FROM ingest.recent_event) + (SELECT count(*) FROM ingest.recent_reject)"
    assert await owner.fetchval(left) == 0


async def test_the_finding_about_accounts_counts_what_is_there(client: httpx.AsyncClient, tenant: Tenant) -> None:
    batch = [{**CALL, "messageId": f"m{number}", "userId": f"u{number}"} for number in range(41)]
    batch += [{**CALL, "messageId": f"g{number}", "groupId": "acme"} for number in range(59)]
    await client.post("/v1/batch", json={"batch": batch}, headers=tenant.writer)
    await seen(client, tenant, "recent", count(100))
    source = (await client.get(f"/v1/sources/{tenant.source}", headers=tenant.admin)).json()
    [finding] = source["findings"]
    assert finding["code"] == "no_account"
    assert finding["sentence"].startswith("41 of the last 100 track, page and screen calls name no account")
    assert "group(userId, accountId)" in finding["remedy"]


async def test_locked_tables_delay_nobody_and_what_waited_is_shown(
    client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    async with owner.transaction():
        await owner.execute("LOCK TABLE ingest.recent_event, ingest.recent_reject IN ACCESS EXCLUSIVE MODE")
        for number in range(3):
            began = monotonic()
            call = {**CALL, "messageId": f"m{number}"}
            assert (await client.post("/v1/track", json=call, headers=tenant.writer)).status_code == 200
            assert monotonic() - began < 2
    rows = await seen(client, tenant, "recent", count(3))
    assert [row["message_id"] for row in rows] == ["m2", "m1", "m0"]


@pytest.fixture
def home() -> Iterator[Path]:
    """PostgreSQL's user, who is not ours, must be able to enter it."""
    made = Path(tempfile.mkdtemp(prefix="kizashi-recent-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
async def fragile(home: Path) -> AsyncIterator[Postgres]:
    """A PostgreSQL of the test's own: ingest's sources and keys, and not the event log."""
    server = Postgres(home / "postgres")
    await server.start()
    try:
        await migrate(server.running.url(OWNER, "postgres"), LOGIN)
        yield server
    finally:
        thaw(server)
        await server.stop()


async def test_while_postgresql_is_frozen_events_are_taken_as_ever(
    start: Start, database: TestDatabase, fragile: Postgres
) -> None:
    owner = await asyncpg.connect(fragile.running.url(OWNER, "postgres"))
    await owner.execute("INSERT INTO access.workspace (workspace_id, name) VALUES (1, 'One')")
    tenant = await add_tenant(owner, 1)
    running = await start(
        KIZASHI_DATABASE_URL=fragile.running.url(LOGIN, "postgres"),
        KIZASHI_LOG_URL=database.url,
    )
    async with httpx.AsyncClient(base_url=running.url, timeout=10) as client:
        assert (await client.post("/v1/track", json=CALL, headers=tenant.writer)).status_code == 200
        await seen(client, tenant, "recent")
        before = running.resident_bytes
        await freeze(fragile)
        rejected = {"batch": [{"type": "track", "userId": "u", "properties": {"long": "x" * 500}}] * 1000}
        for _ in range(10):
            began = monotonic()
            assert (await client.post("/v1/batch", json=rejected, headers=tenant.writer)).status_code == 200
            assert monotonic() - began < 5
        answered: list[float] = []

        async def failing() -> bool:
            began = monotonic()
            assert (await client.post("/v1/track", json=CALL, headers=tenant.writer)).status_code == 200
            answered.append(monotonic() - began)
            return await metric(client, "kizashi_ingest_recent_failures_total") >= 1

        await eventually(failing, within_seconds=15, what="a writing given up")
        assert max(answered) < 2, "once in some seconds one waits for its key to be looked up, and not for long"
        assert running.resident_bytes - before < 20_000_000
        thaw(fragile)
        rows = await seen(client, tenant, "recent", lambda rows: len(rows) > min(50, len(answered)))
        assert {row["event"] for row in rows} == {"Report Exported"}
        assert len(await seen(client, tenant, "rejects")) == KEPT
    await owner.close()


async def metric(client: httpx.AsyncClient, name: str) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


async def test_a_stop_writes_what_is_left(start: Start, database: TestDatabase, tenant: Tenant) -> None:
    running = await start()
    async with httpx.AsyncClient(base_url=running.url) as client:
        assert (await client.post("/v1/track", json=CALL, headers=tenant.writer)).status_code == 200
    running.process.terminate()
    assert await asyncio.wait_for(running.process.wait(), 15) == 0
    owner = await asyncpg.connect(database.owner_url)
    assert await owner.fetchval("SELECT count(*) FROM ingest.recent_event") == 1
    await owner.close()
