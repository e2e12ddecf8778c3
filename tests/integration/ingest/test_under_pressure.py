"""Ingest under pressure: keys over their quota, a log that stands still, and more than a process may hold."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from time import monotonic

import asyncpg
import httpx
import pytest

from deploy.local.kafka import EmbeddedKafka
from libs.common.event_log import EventLog
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_open import event_log
from libs.common.runtime import Service
from libs.common.testing import eventually
from libs.common.topics import Topic
from services.ingest import app
from services.ingest.app import compose
from services.ingest.pressure import InFlight, Refusals
from tests.conftest import TestDatabase
from tests.integration.ingest.conftest import StandsStill, Start, Tenant, at_work, events, records

CALL = {"type": "track", "event": "Report Exported", "userId": "u1"}


def batch(name: str, count: int) -> dict[str, list[dict[str, str]]]:
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


@pytest.mark.usefixtures("one_event_a_second")
async def test_a_strict_refusal_costs_one_event(client: httpx.AsyncClient, tenant: Tenant) -> None:
    one_is_invalid = {"batch": [*batch("strict", 99)["batch"], {}]}
    refused = await client.post("/v1/batch", json=one_is_invalid, headers={**tenant.writer, "x-strict-mode": "1"})
    assert (refused.status_code, refused.json()["code"]) == (400, "strict_mode")
    assert (await client.post("/v1/batch", json=batch("mended", 100), headers=tenant.writer)).status_code == 200


async def test_refusals_for_a_quota_are_counted_without_naming_keys(
    client: httpx.AsyncClient, tenant: Tenant, one_event_a_second: None
) -> None:
    for _ in range(3):
        await client.post("/v1/batch", json=batch("any", 100), headers=tenant.writer)
    metrics = (await client.get("/metrics")).text
    assert 'kizashi_ingest_over_quota_total{lane="live"}' in metrics
    assert 'status="429"' in metrics
    assert tenant.write_key not in metrics


# --- the pace of history ---


@pytest.mark.parametrize("path", ["/v1/import", "/v1/batch"])
async def test_history_comes_to_the_log_at_the_pace_of_its_quota(
    client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant, path: str
) -> None:
    """A thousand events of it take half a second of a quota of two thousand; of live ones each request is appended at
    once."""

    async def send(path: str, said: dict[str, bool]) -> None:
        bodies = [{**batch(f"{name}", 500), **said} for name in range(2)]
        answers = await asyncio.gather(*(client.post(path, json=body, headers=tenant.writer) for body in bodies))
        assert [answer.status_code for answer in answers] == [200, 200]

    await send(path, {} if path == "/v1/import" else {"historical": True})
    await send("/v1/batch", {})
    appended = await owner.fetch(
        "SELECT topic, count(DISTINCT appended_at) AS times, max(appended_at) - min(appended_at) AS long "
        "FROM log.record JOIN log.topic_partition USING (number) GROUP BY topic"
    )
    times, long = ({row["topic"]: row[of] for row in appended} for of in ("times", "long"))
    assert long[Topic.TELEMETRY_IMPORT].total_seconds() >= 0.25
    assert times[Topic.TELEMETRY_IMPORT] >= 4
    assert times[Topic.TELEMETRY] <= 2


@pytest.fixture
def asked_whether_it_is_tight(monkeypatch: pytest.MonkeyPatch) -> list[InFlight]:
    asked: list[InFlight] = []

    def is_tight(in_flight: InFlight) -> bool:
        asked.append(in_flight)
        return True

    monkeypatch.setattr(InFlight, "is_tight", is_tight)
    return asked


async def test_history_waits_for_no_turn_when_memory_is_tight(
    asked_whether_it_is_tight: list[InFlight], client: httpx.AsyncClient, tenant: Tenant
) -> None:
    answer = await client.post("/v1/import", json=batch("past", 500), headers=tenant.writer)
    assert answer.status_code == 200
    assert asked_whether_it_is_tight


# --- keys that are not let in ---


@pytest.mark.parametrize("status", [401, 403])
async def test_those_who_are_not_let_in_are_held_when_they_are_many(
    settings: None, owner: asyncpg.Connection, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    await owner.execute("UPDATE ingest.write_key SET origins = ARRAY['https://shop.example']")
    stranger = {"x-write-key": tenant.write_key if status == 403 else "kzw_unknown", "origin": "https://evil.example"}
    monkeypatch.setattr(app, "Refusals", lambda: Refusals(seconds=3600, at_once_per_s=3, now=lambda: 0))
    async with (
        at_work(compose()) as service,
        httpx.AsyncClient(transport=httpx.ASGITransport(service.app), base_url="http://ingest") as client,
    ):
        for _ in range(3):
            assert (await client.post("/v1/batch", json=batch("few", 1), headers=stranger)).status_code == status
        one_too_many = asyncio.create_task(client.post("/v1/batch", json=batch("many", 1), headers=stranger))

        async def is_held() -> bool:
            assert not one_too_many.done()
            return "kizashi_ingest_held_refusals 1.0" in (await client.get("/metrics")).text

        await eventually(is_held)
        assert (await client.post("/v1/batch", json=batch("ours", 1), headers=tenant.writer)).status_code == 200
        one_too_many.cancel()


# --- a log that stands still ---


@pytest.fixture
async def on_kafka(
    settings: None, database: TestDatabase, kafka: EmbeddedKafka, kafka_topics: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Service, EventLog]]:
    """Ingest at work on Kafka, and a log to look into."""
    access = KafkaAccess(locks_url=database.url, topic_prefix=kafka_topics)
    for name, value in IMPATIENT.items():
        monkeypatch.setenv(name, value)
    async with at_work(compose(lambda _: event_log(kafka.url, name="ingest", kafka=access))) as service:
        log = event_log(kafka.url, name="test", kafka=access)
        await log.open()
        yield service, log
        await log.close()


IMPATIENT = {
    "KIZASHI_INGEST_LOG_SILENT_SECONDS": "1",
    "KIZASHI_INGEST_APPEND_DEADLINE_SECONDS": "2",
    "KIZASHI_INGEST_KEY_CACHE_SECONDS": "0",
}


async def test_nothing_is_claimed_while_the_log_stands_still(
    start: Start, stands_still: StandsStill, log: EventLog, tenant: Tenant
) -> None:
    running = await start(**IMPATIENT)
    async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:

        async def is_ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        async def is_red() -> bool:
            return not await is_ready()

        async def send(name: str, key: str = tenant.write_key) -> tuple[str, httpx.Response]:
            return name, await client.post("/v1/batch", json=batch(name, 10), headers={"x-write-key": key})

        taken = {name for name, answer in [await send("before")] if answer.status_code == 200}
        with stands_still():
            began = monotonic()
            answers = await asyncio.gather(
                *(send(f"known-{number}") for number in range(20)),
                send("unknown", "kzw_never_seen"),
            )
            assert monotonic() - began < 6
            for _, answer in answers:
                assert (answer.status_code, answer.json()["success"]) == (503, False)
                assert 1 <= int(answer.headers["retry-after"]) <= 300
            await eventually(is_red)
            assert (await client.get("/livez")).status_code == 200
        await eventually(is_ready, what="readiness without a request that would tell")
        again = [await send(f"known-{number}") for number in range(20)]
        taken |= {name for name, answer in again if answer.status_code == 200}
    assert len(taken) == 21
    ids = {event.id for event in await events(log, Topic.TELEMETRY)}
    assert ids == {f"{name}-{number}" for name in taken for number in range(10)}


async def test_nothing_is_claimed_while_kafka_stands_still(
    on_kafka: tuple[Service, EventLog], kafka: EmbeddedKafka, tenant: Tenant
) -> None:
    service, log = on_kafka
    transport = httpx.ASGITransport(service.app)
    run = uuid.uuid4().hex
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest", headers=tenant.writer) as client:

        async def send(name: str) -> httpx.Response:
            return await client.post("/v1/track", json={**CALL, "messageId": f"{run}-{name}."})

        async def is_ready() -> bool:
            return (await client.get("/readyz")).status_code == 200

        assert (await send("before")).status_code == 200
        kafka.freeze()
        try:
            began = monotonic()
            answers = await asyncio.gather(*(send(str(number)) for number in range(20)))
            assert monotonic() - began < 6
            for answer in answers:
                assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable")
                assert 1 <= int(answer.headers["retry-after"]) <= 300
            assert not await is_ready()
        finally:
            kafka.thaw()
        await eventually(is_ready)
        for number in range(20):
            assert (await send(str(number))).status_code == 200
    durable = b"".join(record.value for _, record in await records(log, Topic.TELEMETRY))
    for name in ["before", *range(20)]:
        assert f"{run}-{name}.".encode() in durable


@pytest.mark.usefixtures("one_event_a_second")
async def test_what_the_log_did_not_take_is_not_charged(
    on_kafka: tuple[Service, EventLog], kafka: EmbeddedKafka, tenant: Tenant
) -> None:
    service, _ = on_kafka
    transport = httpx.ASGITransport(service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest", headers=tenant.writer) as client:
        kafka.freeze()
        try:
            not_taken = await client.post("/v1/batch", json=batch("outage", 100))
        finally:
            kafka.thaw()
        assert (not_taken.status_code, not_taken.json()["code"]) == (503, "log_unavailable")

        async def is_taken_again() -> bool:
            again = await client.post("/v1/batch", json=batch("outage", 100))
            assert again.status_code != 429
            return again.status_code == 200

        await eventually(is_taken_again)
