"""From a request to the event log: what counts, what is refused, and that 200 means durable."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from libs.common.clock import wall_now
from libs.common.event_log import EventLog
from libs.common.events import TelemetryReceived
from libs.common.runtime import Service
from libs.common.testing import eventually
from libs.common.topics import Topic
from services.ingest.paths import ALL_PATHS, CLOUD_EVENTS, PATHS
from tests.integration.ingest.conftest import Tenant, events, records

CALL = {"event": "Report Exported", "userId": "u1", "previousId": "u0", "groupId": "acme"}


async def telemetry(log: EventLog, topic: Topic = Topic.TELEMETRY) -> list[TelemetryReceived]:
    return [event for event in await events(log, topic) if isinstance(event, TelemetryReceived)]


@pytest.mark.parametrize("slash", ["", "/"])
async def test_every_path_takes_what_it_is_for(
    client: httpx.AsyncClient, log: EventLog, tenant: Tenant, slash: str
) -> None:
    calls = {path: meaning for path, meaning in PATHS.items() if path != CLOUD_EVENTS}
    for path, meaning in calls.items():
        one = {**CALL, "messageId": path, "type": "track"}
        body = one if meaning.single else {"batch": [one]}
        answer = await client.post(path + slash, json=body, headers=tenant.writer)
        assert (path, answer.status_code, answer.json()) == (path, 200, {"success": True})
    live, imported = await telemetry(log), await telemetry(log, Topic.TELEMETRY_IMPORT)
    assert {event.id: event.kind for event in live} == {
        path: meaning.kind or "track" for path, meaning in calls.items() if not meaning.historical
    }
    assert [(event.id, event.historical) for event in imported] == [("/v1/import", True)]
    assert {(event.workspace, event.source) for event in live} == {(tenant.workspace, tenant.source)}


async def test_a_batch_can_say_that_it_is_history(client: httpx.AsyncClient, log: EventLog, tenant: Tenant) -> None:
    old = (wall_now() - timedelta(days=90)).isoformat()
    body = {
        "historical": True,
        "sentAt": wall_now().isoformat(),
        "batch": [{**CALL, "type": "track", "timestamp": old}],
    }
    assert (await client.post("/v1/batch", json=body, headers=tenant.writer)).status_code == 200
    (event,) = await telemetry(log, Topic.TELEMETRY_IMPORT)
    assert (event.occurred_at.isoformat(), event.flags) == (old, ())


async def test_valid_events_are_kept_and_invalid_ones_listed_and_recorded(
    client: httpx.AsyncClient, log: EventLog, tenant: Tenant
) -> None:
    batch = [
        {"type": "track", "event": "Kept", "userId": "u", "messageId": "kept"},
        {"type": "track", "userId": "u", "messageId": "nameless"},
        {"type": "charge", "userId": "u"},
    ]
    answer = await client.post("/v1/batch", json={"batch": batch}, headers=tenant.writer)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["success"], body["accepted"], body["rejected"]) == (True, 1, 2)
    assert [(error["index"], error["messageId"], error["code"]) for error in body["errors"]] == [
        (1, "nameless", "missing_event"),
        (2, None, "unknown_type"),
    ]
    assert [event.id for event in await telemetry(log)] == ["kept"]
    letters = [record for _, record in await records(log, Topic.TELEMETRY_DLQ)]
    assert sorted((letter.headers["reason"], json.loads(letter.value)["type"]) for letter in letters) == [
        (b"missing_event", "track"),
        (b"unknown_type", "charge"),
    ]


async def test_a_single_invalid_event_is_refused_and_recorded(
    client: httpx.AsyncClient, log: EventLog, tenant: Tenant
) -> None:
    answer = await client.post("/v1/track", json={"userId": "u"}, headers=tenant.writer)
    assert (answer.status_code, answer.json()["code"]) == (400, "missing_event")
    assert len(await records(log, Topic.TELEMETRY_DLQ)) == 1


async def test_strict_mode_takes_all_or_nothing(client: httpx.AsyncClient, log: EventLog, tenant: Tenant) -> None:
    good = {**CALL, "type": "track"}
    strict = {**tenant.writer, "x-strict-mode": "1"}
    answer = await client.post("/v1/batch", json={"batch": [good, {}]}, headers=strict)
    assert (answer.status_code, answer.json()["code"], answer.json()["rejected"]) == (400, "strict_mode", 1)
    assert answer.json()["errors"][0]["code"] == "unknown_type"
    assert await records(log, Topic.TELEMETRY) == await records(log, Topic.TELEMETRY_DLQ) == []
    assert (await client.post("/v1/batch", json={"batch": [good]}, headers=strict)).status_code == 200


async def test_the_surplus_of_a_batch_is_rejected_and_listed_up_to_a_hundred(
    client: httpx.AsyncClient, log: EventLog, tenant: Tenant
) -> None:
    batch = [{"type": "track", "event": "e", "userId": "u", "messageId": str(n)} for n in range(2700)]
    answer = await client.post("/v1/batch", json={"batch": batch}, headers=tenant.writer)
    body = answer.json()
    assert (answer.status_code, body["accepted"], body["rejected"], len(body["errors"])) == (200, 2500, 200, 100)
    assert (body["errors"][0]["index"], body["errors"][0]["code"]) == (2500, "too_many_events")
    assert len(await records(log, Topic.TELEMETRY)) == 2500


def basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


async def test_a_key_is_found_wherever_clients_put_it(client: httpx.AsyncClient, tenant: Tenant) -> None:
    key, track = tenant.write_key, {**CALL}
    for headers, query, body in [
        (basic(key), "", track),
        (basic(key), "?writeKey=wrong", {**track, "writeKey": "****"}),
        ({"x-write-key": key, "authorization": "Bearer somebody else's"}, "", track),
        ({}, f"?writeKey={key}", track),
        ({}, f"?writekey={key}", {**track, "writeKey": "wrong"}),
        ({}, "", {**track, "writeKey": key}),
        ({"authorization": "Bearer somebody else's"}, "", {**track, "writeKey": key}),
        ({"authorization": f"Bearer {key}"}, "", track),
    ]:
        answer = await client.post(f"/v1/track{query}", json=body, headers=headers)
        assert answer.status_code == 200, (headers, query, body)


async def test_a_jitsu_client_needs_no_other_host(client: httpx.AsyncClient, log: EventLog, tenant: Tenant) -> None:
    """Its key is written id:secret; it masks the secret in the body, and says its group with every event."""
    call = {**CALL, "writeKey": f"{tenant.write_key}:***", "groupId": "acme", "sentAt": wall_now().isoformat()}
    headers = {"x-write-key": f"{tenant.write_key}:secret", "x-enable-debug": "true", "x-ip-policy": "keep"}
    for path in ("/api/s/track", "/api/s/s2s/track", "/api/s/event"):
        body = {**call, "type": "track", "messageId": path}
        answer = await client.post(path, json=body, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"success": True}), "it parses the answer"
    by_itself = await client.post("/api/s/s2s/event", json={**CALL, "type": "page"}, headers=headers)
    assert by_itself.status_code == 200
    untyped = await client.post("/api/s/event", json=CALL, headers=headers)
    assert (untyped.status_code, untyped.json()["code"]) == (400, "unknown_type")
    kinds = [(event.kind, event.account_id) for event in await telemetry(log)]
    assert kinds == [("track", "acme")] * 3 + [("page", "acme")]


async def test_a_beacon_has_its_key_in_the_address(client: httpx.AsyncClient, log: EventLog, tenant: Tenant) -> None:
    """navigator.sendBeacon sets no headers, and calls its JSON text."""
    answer = await client.post(
        f"/beacon/v1/batch?writeKey={tenant.write_key}",
        content=json.dumps({"batch": [{**CALL, "type": "track"}], "sentAt": wall_now().isoformat()}),
        headers={"content-type": "text/plain;charset=UTF-8", "origin": "https://shop.example"},
    )
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://shop.example")
    assert len(await telemetry(log)) == 1


async def test_a_wrong_key_is_final(client: httpx.AsyncClient, tenant: Tenant) -> None:
    for headers, body, code in [
        ({}, CALL, "missing_write_key"),
        (basic("wrong"), {**CALL, "writeKey": tenant.write_key}, "unknown_write_key"),
        ({}, {**CALL, "writeKey": "wrong"}, "unknown_write_key"),
        ({"authorization": f"Bearer {tenant.api_key}"}, CALL, "unknown_write_key"),
    ]:
        answer = await client.post("/v1/track", json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, code)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json", ""])
async def test_the_content_type_does_not_matter(client: httpx.AsyncClient, tenant: Tenant, content_type: str) -> None:
    headers = {**tenant.writer, "content-type": content_type}
    packed = gzip.compress(json.dumps({"batch": [{**CALL, "type": "track"}]}).encode())
    for body, encoding in [(json.dumps({"batch": []}).encode(), ""), (packed, "gzip"), (packed, "")]:
        answer = await client.post("/v1/batch", content=body, headers={**headers, "content-encoding": encoding})
        assert answer.status_code == 200


async def test_what_python_sends_and_postgresql_refuses_is_mended(
    client: httpx.AsyncClient, log: EventLog, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    properties = {"nan": float("nan"), "inf": float("-inf"), "nul\0": "a\0b", "lone": "\ud800", "ok": 1}
    body = {
        "batch": [{"type": "track", "event": "e\0", "userId": "u", "properties": properties}, CALL | {"type": "page"}]
    }
    content = b"\xef\xbb\xbf" + json.dumps(body).encode()
    answer = await client.post("/v1/batch", content=content, headers=tenant.writer)
    assert answer.json() == {"success": True}
    event = next(event for event in await telemetry(log) if event.event == "e")
    stored = await owner.fetchval("SELECT $1::jsonb", bytes(event.properties).decode())
    assert json.loads(stored) == {"nan": None, "inf": None, "nul": "ab", "lone": "\ufffd", "ok": 1}


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/batch", b"{", 400, "not_json"),
        ("/v1/batch", b"", 400, "not_json"),
        ("/v1/batch", b"[]", 400, "not_an_object"),
        ("/v1/batch", b'{"batch":{}}', 400, "batch_not_an_array"),
        ("/v1/track", b'{"x":' + b"[" * 200_000, 400, "too_deep"),
        ("/v1/track", b'{"userId":"' + b"x" * 70_000 + b'"}', 400, "event_too_large"),
        ("/v1/track", b'"' + b"x" * 1_048_576, 413, "body_too_large"),
        ("/v1/batch", b'"' + b"x" * 5_242_880, 413, "body_too_large"),
        ("/v1/track", gzip.compress(b"x" * 2_000_000), 413, "body_too_large"),
        ("/v1/track", gzip.compress(b"{}")[:-3], 400, "bad_encoding"),
        ("/v1/batch", b'{"batch":[' + b"0," * 600_000 + b"0]}", 413, "too_many_values"),
    ],
)
async def test_a_bad_body_gets_a_code(
    client: httpx.AsyncClient, tenant: Tenant, path: str, body: bytes, status: int, code: str
) -> None:
    answer = await client.post(path, content=body, headers=tenant.writer)
    assert (answer.status_code, answer.json()["code"], answer.json()["success"]) == (status, code, False)
    assert ("limit_bytes" in answer.json()) == (code == "body_too_large")
    assert (await client.post("/v1/track", json=CALL, headers=tenant.writer)).status_code == 200


async def test_an_unknown_encoding_is_415(client: httpx.AsyncClient, tenant: Tenant) -> None:
    answer = await client.post("/v1/batch", content=b"{}", headers={**tenant.writer, "content-encoding": "br"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unknown_encoding")


async def test_a_log_that_does_not_take_the_events_is_503(
    service: Service, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    await client.post("/v1/track", json=CALL, headers=tenant.writer)
    await service.close[0]()  # the log
    answer = await client.post("/v1/track", json=CALL, headers=tenant.writer)
    assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable")
    assert 1 <= int(answer.headers["retry-after"]) <= 300


async def test_a_stopping_process_takes_nothing_more(
    service: Service, client: httpx.AsyncClient, tenant: Tenant
) -> None:
    service.probes.stopping = True
    answer = await client.post("/v1/track", json=CALL, headers=tenant.writer)
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "shutting_down", "1")


# --- every answer ----------------------------------------------------------------------------------------------------


def _paths(schema: dict[str, Any]) -> set[str]:
    return {path for path in schema["paths"] if path != "/metrics"}


async def test_every_error_of_every_path_has_one_shape_and_cors(client: httpx.AsyncClient, tenant: Tenant) -> None:
    schema = (await client.get("/openapi.json")).json()
    assert set(PATHS) < _paths(schema)
    for path in [*_paths(schema), *ALL_PATHS, "/", "/nowhere", "/v1/sources/", "/v1/nowhere/"]:
        filled = re.sub(r"\{source_id\}", "999", re.sub(r"\{key_id\}", "none", path))
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            answer = await client.request(method, filled, headers={"origin": "https://shop.example"})
            if answer.is_success:
                continue
            body = answer.json()
            assert answer.status_code in (400, 401, 404, 405), (method, filled)
            assert (body["success"], type(body["code"]), type(body["message"])) == (False, str, str)
            assert answer.headers["access-control-allow-origin"] == "https://shop.example"
            assert answer.headers["access-control-expose-headers"] == "Retry-After, X-Request-Id"
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert answer.headers["vary"] == "Origin"
            assert answer.headers["x-request-id"]


async def test_browsers_may_send_any_header_from_anywhere(client: httpx.AsyncClient) -> None:
    asked = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type,x-retry-count",
    }
    for path in (*ALL_PATHS, "/sourceConfig/", "/v1/projects/key/settings", "/v1/sources", "/nowhere"):
        answer = await client.options(path, headers=asked)
        assert (answer.status_code, answer.content) == (204, b"")
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert answer.headers["access-control-allow-headers"] == "content-type,x-retry-count"
        assert answer.headers["access-control-max-age"] == "86400"
        assert answer.headers["x-request-id"]
    assert (await client.options("/v1/batch")).status_code == 204


async def test_metrics_count_what_became_of_events(client: httpx.AsyncClient, tenant: Tenant) -> None:
    batch = [{**CALL, "type": "track", "groupId": None}, {"type": "track", "userId": "u"}]
    await client.post("/v1/batch", json={"batch": batch}, headers=tenant.writer)
    metrics = (await client.get("/metrics")).text
    for line in (
        'kizashi_ingest_events_total{lane="live",outcome="accepted"}',
        'kizashi_ingest_rejected_total{code="missing_event"}',
        'kizashi_ingest_account_rules_total{rule="unassigned"}',
        'kizashi_ingest_time_flags_total{flag="timestamp_missing"}',
        'kizashi_http_requests_total{method="POST",route="/v1/batch",status="200"}',
    ):
        assert line in metrics


async def test_it_is_ready_once_the_log_has_answered(client: httpx.AsyncClient) -> None:
    async def ready() -> bool:
        return (await client.get("/readyz")).status_code == 200

    await eventually(ready)
    assert (await client.get("/livez")).json() == {"live": True, "problems": []}


async def test_a_body_may_come_in_chunks(client: httpx.AsyncClient, tenant: Tenant) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for byte in json.dumps(CALL).encode():
            yield bytes([byte])

    assert (await client.post("/v1/track", content=chunks(), headers=tenant.writer)).status_code == 200
