"""The administration: sources, their keys, and going live; a neighbour's are not there at all."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from libs.common.api_keys import Scope
from libs.common.event_log import EventLog
from libs.common.events import SourceWentLive, decode
from libs.common.topics import PARTITIONS, Topic
from services.ingest.going_live import LANES
from tests.integration.ingest.conftest import Tenant, add_api_key, events, records

CALL = {"event": "Report Exported", "userId": "u1"}


async def test_a_source_is_made_importing_and_shown(client: httpx.AsyncClient, tenant: Tenant) -> None:
    answer = await client.post("/v1/sources", json={"name": " Mobile app "}, headers=tenant.admin)
    made = answer.json()
    assert (answer.status_code, made["name"], made["state"], made["live_at"]) == (201, "Mobile app", "importing", None)
    listed = (await client.get("/v1/sources", headers=tenant.admin)).json()
    assert [source["name"] for source in listed] == ["app", "Mobile app"]
    shown = (await client.get(f"/v1/sources/{made['id']}", headers=tenant.admin)).json()
    assert [one["code"] for one in shown.pop("findings")] == ["nothing_arrived"]
    assert shown == made
    again = await client.post("/v1/sources", json={"name": "Mobile app"}, headers=tenant.admin)
    assert (again.status_code, again.json()["code"]) == (409, "source_exists")


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\0b", "a\nb", 5, None])
async def test_a_name_is_a_line_of_text(client: httpx.AsyncClient, tenant: Tenant, name: Any) -> None:
    answer = await client.post("/v1/sources", json={"name": name}, headers=tenant.admin)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_write_key_is_shown_once_works_and_can_be_revoked(client: httpx.AsyncClient, tenant: Tenant) -> None:
    keys = f"/v1/sources/{tenant.source}/write-keys"
    made = (await client.post(keys, json={"name": "web"}, headers=tenant.admin)).json()
    writer = {"x-write-key": made.pop("write_key")}
    assert (await client.post("/v1/track", json=CALL, headers=writer)).status_code == 200
    listed = (await client.get(keys, headers=tenant.admin)).json()
    assert listed[1] == made
    assert writer["x-write-key"].startswith(f"kzw_{made['id']}_")
    assert writer["x-write-key"] not in str(listed)
    revoked = await client.delete(f"{keys}/{made['id']}", headers=tenant.admin)
    assert revoked.json()["revoked_at"]
    assert (await client.delete(f"{keys}/{made['id']}", headers=tenant.admin)).json() == revoked.json()
    assert (await client.post("/v1/track", json=CALL, headers=writer)).status_code == 401
    assert (await client.post("/v1/track", json=CALL, headers=tenant.writer)).status_code == 200


async def test_going_live_is_told_to_every_partition_once_for_its_readers(
    client: httpx.AsyncClient, log: EventLog, tenant: Tenant
) -> None:
    await client.post("/v1/import", json={"batch": [{**CALL, "type": "track"}]}, headers=tenant.writer)
    path = f"/v1/sources/{tenant.source}/live"
    first, second = await asyncio.gather(*(client.post(path, headers=tenant.admin) for _ in range(2)))
    third = await client.post(path, headers=tenant.admin)
    assert (first.status_code, first.json()["state"]) == (200, "live")
    assert third.json() in (first.json(), second.json())
    for lane in LANES:
        told = [(place, decode(record.value)) for place, record in await records(log, lane)]
        every_time = [(place.partition, event.claim()) for place, event in told if isinstance(event, SourceWentLive)]
        assert len(every_time) == 3 * PARTITIONS, "also when it is live: the log may have lost what it was told before"
        assert sorted(partition for partition, _ in set(every_time)) == list(range(PARTITIONS))
        for place, event in told:
            if isinstance(event, SourceWentLive):
                assert (event.source, event.in_topic, event.in_partition) == (tenant.source, lane, place.partition)


async def test_going_live_that_fails_in_the_middle_is_simply_repeated(
    client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    path = f"/v1/sources/{tenant.source}"
    async with owner.transaction():
        await owner.execute(
            "SELECT FROM log.topic_partition WHERE topic = 'telemetry-import' AND partition = 11 FOR UPDATE"
        )
        failed = await client.post(f"{path}/live", headers=tenant.admin, timeout=20)
    assert (failed.status_code, failed.json()["code"]) == (503, "unavailable")
    assert (await client.get(path, headers=tenant.admin)).json()["state"] == "importing"
    assert (await client.post(f"{path}/live", headers=tenant.admin)).json()["state"] == "live"


async def test_a_neighbours_source_is_not_there(
    client: httpx.AsyncClient, log: EventLog, owner: asyncpg.Connection, tenant: Tenant, neighbour: Tenant
) -> None:
    theirs = (await client.get(f"/v1/sources/{neighbour.source}/write-keys", headers=neighbour.admin)).json()[0]["id"]
    schema = (await client.get("/openapi.json")).json()
    walked = 0
    for path, operations in schema["paths"].items():
        for method in operations if "{source_id}" in path else ():
            answers = []
            for source in (neighbour.source, 999_999):
                filled = path.replace("{source_id}", str(source)).replace("{key_id}", theirs)
                answers.append(await client.request(method, filled, json={}, headers=tenant.admin))
            assert [answer.status_code for answer in answers] == [404, 404], (method, path)
            assert answers[0].json()["code"] == answers[1].json()["code"] == "unknown_source"
            walked += 1
    assert walked >= 7
    own = f"/v1/sources/{tenant.source}/write-keys/{theirs}"
    for method, path in [("DELETE", own), ("PATCH", own), ("POST", f"{own}/rotate")]:
        foreign = await client.request(method, path, json={}, headers=tenant.admin)
        assert (foreign.status_code, foreign.json()["code"]) == (404, "unknown_write_key"), (method, path)
    assert [source["id"] for source in (await client.get("/v1/sources", headers=tenant.admin)).json()] == [
        tenant.source
    ]
    untouched = "revoked_at IS NULL AND expires_at IS NULL AND replaces IS NULL"
    assert await owner.fetchval(f"SELECT count(*) FROM ingest.write_key WHERE {untouched}") == 2
    assert await events(log, Topic.TELEMETRY) == []


async def test_scopes_are_asked_for(client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant) -> None:
    reader = {"authorization": "Bearer " + await add_api_key(owner, tenant.workspace, Scope.READ)}
    path = f"/v1/sources/{tenant.source}"
    for method, where, status in [
        ("GET", "/v1/sources", 200),
        ("GET", path, 200),
        ("POST", "/v1/sources", 403),
        ("POST", f"{path}/live", 403),
        ("GET", f"{path}/write-keys", 403),
        ("POST", f"{path}/write-keys", 403),
        ("DELETE", f"{path}/write-keys/x", 403),
        ("PATCH", f"{path}/write-keys/x", 403),
        ("POST", f"{path}/write-keys/x/rotate", 403),
    ]:
        answer = await client.request(method, where, json={"name": "new"}, headers=reader)
        assert answer.status_code == status, (method, where)
        assert (await client.request(method, where, json={"name": "new"})).status_code == 401
        assert (await client.request(method, where, json={"name": "n"}, headers=tenant.writer)).status_code == 401


@pytest.mark.parametrize("source", ["0", "-1", "x", "9" * 30, "%00"])
async def test_a_strange_id_is_no_defect(client: httpx.AsyncClient, tenant: Tenant, source: str) -> None:
    assert (await client.get(f"/v1/sources/{source}", headers=tenant.admin)).status_code == 422
