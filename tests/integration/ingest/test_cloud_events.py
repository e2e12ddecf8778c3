"""CloudEvents over HTTP, up to the event log and its dead letters."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from libs.common.event_log import EventLog
from libs.common.events import TelemetryReceived
from libs.common.topics import Topic
from services.ingest.paths import CLOUD_EVENTS
from tests.integration.ingest.conftest import Tenant, events, records

PAID: dict[str, Any] = {
    "specversion": "1.0",
    "id": "A234",
    "source": "/billing",
    "type": "invoice.paid",
    "subject": "customer-42",
    "data": {"amount": 12.5},
}
STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCHED = {"content-type": "application/cloudevents-batch+json"}
BINARY = {
    "ce-specversion": "1.0",
    "ce-id": "A234",
    "ce-source": "/billing",
    "ce-type": "invoice.paid",
    "ce-subject": "customer-42",
    "content-type": "application/json",
}


@pytest.mark.parametrize("slash", ["", "/"])
async def test_all_three_modes_are_one_event(
    client: httpx.AsyncClient, log: EventLog, tenant: Tenant, slash: str
) -> None:
    for body, headers in [(PAID, STRUCTURED), ([PAID], BATCHED), (PAID["data"], BINARY)]:
        answer = await client.post(CLOUD_EVENTS + slash, content=json.dumps(body), headers={**headers, **tenant.writer})
        assert (answer.status_code, answer.content) == (204, b"")
        assert "content-type" not in answer.headers
        assert answer.headers["x-request-id"]
    received = [event for event in await events(log, Topic.TELEMETRY) if isinstance(event, TelemetryReceived)]
    assert {event.claim() for event in received} == {received[0].claim()}
    assert [(event.id, event.event, event.account_id, event.account_rule) for event in received] == [
        ("/billing A234", "invoice.paid", "customer-42", "subject")
    ] * 3


async def test_a_batch_that_is_partly_invalid_is_answered_as_everywhere(
    client: httpx.AsyncClient, log: EventLog, tenant: Tenant
) -> None:
    wrong = {**PAID, "specversion": "0.3"}
    answer = await client.post(CLOUD_EVENTS, json=[PAID, wrong], headers={**tenant.writer, **BATCHED})
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "accepted": 1,
        "rejected": 1,
        "errors": [
            {"index": 1, "messageId": None, "code": "unknown_specversion", "message": '`specversion` must be "1.0".'}
        ],
    }
    ((_, letter),) = await records(log, Topic.TELEMETRY_DLQ)
    assert (letter.headers["reason"], json.loads(letter.value)) == (b"unknown_specversion", wrong)


async def test_a_single_invalid_event_is_refused_and_recorded(
    client: httpx.AsyncClient, log: EventLog, tenant: Tenant
) -> None:
    for body, headers in [({**PAID, "id": ""}, STRUCTURED), (PAID["data"], {**BINARY, "ce-id": ""})]:
        answer = await client.post(CLOUD_EVENTS, json=body, headers={**headers, **tenant.writer})
        assert (answer.status_code, answer.json()["code"]) == (400, "missing_id")
    letters = [json.loads(letter.value) for _, letter in await records(log, Topic.TELEMETRY_DLQ)]
    assert [(letter["type"], letter["data"]) for letter in letters] == [("invoice.paid", {"amount": 12.5})] * 2


async def test_strict_mode_keys_and_cors_hold_as_everywhere(
    client: httpx.AsyncClient, log: EventLog, tenant: Tenant
) -> None:
    page = {"origin": "https://shop.example"}
    strict = await client.post(
        CLOUD_EVENTS, json=[PAID, {}], headers={**tenant.writer, **BATCHED, **page, "x-strict-mode": "1"}
    )
    assert (strict.status_code, strict.json()["code"]) == (400, "strict_mode")
    keyless = await client.post(CLOUD_EVENTS, json=PAID, headers={**STRUCTURED, **page})
    assert (keyless.status_code, keyless.json()["code"]) == (401, "missing_write_key")
    taken = await client.post(f"{CLOUD_EVENTS}?writeKey={tenant.write_key}", json=PAID, headers={**STRUCTURED, **page})
    assert taken.status_code == 204
    for answer in (strict, keyless, taken):
        assert answer.headers["access-control-allow-origin"] == page["origin"]
    assert len(await events(log, Topic.TELEMETRY)) == 1


async def test_a_sender_that_asks_first_is_told_that_its_events_are_wanted(client: httpx.AsyncClient) -> None:
    asked = {"webhook-request-origin": "events.example", "webhook-request-rate": "120"}
    answer = await client.options(CLOUD_EVENTS, headers=asked)
    assert answer.status_code == 204
    assert (answer.headers["webhook-allowed-origin"], answer.headers["webhook-allowed-rate"]) == ("events.example", "*")
    assert answer.headers["allow"] == "POST"
    assert "webhook-allowed-origin" not in (await client.options("/v1/batch", headers=asked)).headers
