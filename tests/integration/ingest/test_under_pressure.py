"""Ingest under pressure: keys over their quota, a log that stands still, and more than a process may hold."""

from __future__ import annotations

import asyncpg
import httpx
import pytest

from libs.common.event_log import EventLog
from libs.common.topics import Topic
from services.ingest import app
from services.ingest.pressure import Refusals
from tests.integration.ingest.conftest import Tenant, events, records

CALL = {"type": "track", "event": "Report Exported", "userId": "u1"}


def batch(name: str, count: int) -> dict[str, object]:
    return {"batch": [{**CALL, "messageId": f"{name}-{number}"} for number in range(count)]}


# --- quotas ---


@pytest.fixture(autouse=True)
def refusals_are_not_held_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "Refusals", lambda: Refusals(seconds=0.01))


@pytest.fixture
async def one_event_a_second(owner: asyncpg.Connection, tenant: Tenant) -> None:
    await owner.execute("UPDATE ingest.write_key SET events_per_s = 1 WHERE workspace_id = $1", tenant.workspace)


@pytest.mark.usefixtures("one_event_a_second")
async def test_a_key_in_debt_is_told_when_to_come_back(
    client: httpx.AsyncClient, log: EventLog, tenant: Tenant, neighbour: Tenant
) -> None:
    larger_than_the_bucket = await client.post("/v1/batch", json=batch("first", 100), headers=tenant.writer)
    assert (larger_than_the_bucket.status_code, larger_than_the_bucket.json()) == (200, {"success": True})
    keys = [tenant.writer, {"authorization": f"Bearer {tenant.write_key}"}]
    for headers, path in zip(keys * 2, ("/v1/batch", "/v1/b/", "/v1/track", "/v1/t"), strict=True):
        body = batch("second", 1) if "b" in path else CALL
        over = await client.post(path, json=body, headers={**headers, "origin": "https://shop.example"})
        assert (over.status_code, over.json()["success"], over.json()["code"]) == (429, False, "over_quota")
        assert "quota of 1 events a second" in over.json()["message"]
        assert 80 <= int(over.headers["retry-after"]) <= 90
        assert over.headers["access-control-allow-origin"] == "https://shop.example"
    in_the_body = await client.post("/v1/batch", json={**batch("third", 1), "writeKey": tenant.write_key})
    assert in_the_body.status_code == 429
    assert (await client.post("/v1/batch", json=batch("other", 1), headers=neighbour.writer)).status_code == 200
    durable = {event.id for event in await events(log, Topic.TELEMETRY)}
    assert durable == {f"first-{number}" for number in range(100)} | {"other-0"}
    assert await records(log, Topic.TELEMETRY_DLQ) == []


@pytest.mark.usefixtures("one_event_a_second")
async def test_the_door_is_shut_before_a_body_is_read(client: httpx.AsyncClient, tenant: Tenant) -> None:
    too_large = b"x" * 6_000_000
    assert (await client.post("/v1/batch", content=too_large, headers=tenant.writer)).status_code == 413
    await client.post("/v1/batch", json=batch("first", 100), headers=tenant.writer)
    assert (await client.post("/v1/batch", content=too_large, headers=tenant.writer)).status_code == 429


@pytest.mark.usefixtures("one_event_a_second")
async def test_history_has_a_quota_of_its_own(client: httpx.AsyncClient, log: EventLog, tenant: Tenant) -> None:
    for number, status in enumerate((200, 429)):
        past = await client.post("/v1/import", json=batch(f"past-{number}", 100), headers=tenant.writer)
        assert past.status_code == status
    marked = {**batch("marked", 1), "historical": True}
    refused = await client.post("/v1/batch", json=marked, headers=tenant.writer)
    assert (refused.status_code, "events of history a second" in refused.json()["message"]) == (429, True)
    assert (await client.post("/v1/batch", json=batch("now", 100), headers=tenant.writer)).status_code == 200
    assert len(await records(log, Topic.TELEMETRY)) == len(await records(log, Topic.TELEMETRY_IMPORT)) == 100


async def test_refusals_for_a_quota_are_counted_without_naming_keys(
    client: httpx.AsyncClient, tenant: Tenant, one_event_a_second: None
) -> None:
    for _ in range(3):
        await client.post("/v1/batch", json=batch("any", 100), headers=tenant.writer)
    metrics = (await client.get("/metrics")).text
    assert 'kizashi_ingest_over_quota_total{lane="live"}' in metrics
    assert 'status="429"' in metrics
    assert tenant.write_key not in metrics
