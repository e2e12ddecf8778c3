"""Ingest as a process: real clients, hostile bodies, stops, and the sentences of one that cannot start."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from time import monotonic

import httpx
import pytest
from segment.analytics.client import Client

from libs.common.event_log import EventLog
from libs.common.events import TelemetryReceived
from libs.common.testing import eventually, free_port
from libs.common.topics import Topic
from tests.conftest import TestDatabase
from tests.integration.ingest.conftest import Start, Tenant, events, launch

CALL = {"event": "Report Exported", "userId": "u1"}


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_segment_client_changes_only_its_host(
    start: Start, log: EventLog, tenant: Tenant, compressed: bool
) -> None:
    running = await start()
    problems: list[object] = []
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def send() -> int:
        client = Client(
            tenant.write_key,
            host=running.url + "/",
            gzip=compressed,
            upload_interval=0.05,
            on_error=lambda error, _batch: problems.append(error),
        )
        client.identify("u0", {"email": "u0@example.com", "weight": float("nan")})
        client.group("u0", "acme", {"plan": "gold\0"})
        client.page("u0", "Docs", "Home")
        client.screen("u0", "Main")
        client.alias("a0", "u0")
        for number in range(495):
            client.track(f"u{number % 7}", "Report Exported", {"n": number, "when": when}, timestamp=when)
        client.flush()
        client.shutdown()
        return 500

    sent = await asyncio.to_thread(send)
    assert problems == []
    received = [event for event in await events(log, Topic.TELEMETRY) if isinstance(event, TelemetryReceived)]
    assert len({event.id for event in received}) == len(received) == sent
    exported = [event for event in received if event.event == "Report Exported"]
    assert (len(exported), {event.occurred_at for event in exported}, exported[0].flags) == (495, {when}, ())
    group = next(event for event in received if event.event == "$group")
    assert (group.account_id, group.account_rule) == ("acme", "group")
    assert json.loads(bytes(group.traits)) == {"plan": "gold"}


async def test_a_client_with_a_wrong_key_is_told_once_and_for_all(start: Start, tenant: Tenant) -> None:
    running = await start()
    problems: list[Exception] = []

    def send() -> None:
        client = Client("wrong", host=running.url, max_retries=2, on_error=lambda error, _: problems.append(error))
        client.track("u", "e")
        client.flush()
        client.shutdown()

    began = monotonic()
    await asyncio.to_thread(send)
    assert monotonic() - began < 5
    assert "unknown_write_key" in str(problems[0])


async def test_two_hundred_megabytes_in_chunks_leave_no_trace(start: Start, tenant: Tenant) -> None:
    running = await start()
    async with httpx.AsyncClient(base_url=running.url, headers=tenant.writer, timeout=60) as client:
        assert (await client.post("/v1/track", json=CALL)).status_code == 200
        before = running.resident_bytes
        highest = before

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal highest
            yield b'{"batch":["'
            for _ in range(200):
                yield b"x" * 1_000_000
                highest = max(highest, running.resident_bytes)

        refused = await client.post("/v1/batch", content=chunks())
        assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")
        assert highest - before < 20_000_000
        assert (await client.post("/v1/track", json=CALL)).status_code == 200


async def test_bombs_and_crowds_leave_no_trace(start: Start, tenant: Tenant) -> None:
    running = await start(KIZASHI_INGEST_KEY_EVENTS_PER_S="0")
    bomb = gzip.compress(bytes(500_000_000), 9)
    crowd = gzip.compress(b'{"batch":[' + b"0," * 450_000 + b"0]}")
    async with httpx.AsyncClient(base_url=running.url, headers=tenant.writer, timeout=60) as client:
        before = running.resident_bytes
        for _ in range(10):
            assert (await client.post("/v1/batch", content=bomb)).status_code == 413
        assert running.resident_bytes - before < 20_000_000
        for _ in range(3):
            answer = await client.post("/v1/batch", content=crowd)
            assert (answer.status_code, answer.json()["rejected"]) == (200, 450_001)
        after_three = running.resident_bytes
        for _ in range(3):
            await client.post("/v1/batch", content=crowd)
        assert running.resident_bytes - after_three < 20_000_000
        assert (await client.post("/v1/track", json=CALL)).status_code == 200


async def test_a_stop_answers_what_is_in_hand_and_is_over_within_seconds(
    start: Start, log: EventLog, tenant: Tenant
) -> None:
    running = await start()
    answered: list[str] = []

    async def keep_sending(client: httpx.AsyncClient, sender: int) -> None:
        for number in range(100_000):
            name = f"{sender}-{number}"
            try:
                answer = await client.post("/v1/track", json={**CALL, "messageId": name})
            except httpx.TransportError:
                return
            if answer.status_code == 200:
                answered.append(name)

    async with httpx.AsyncClient(base_url=running.url, headers=tenant.writer) as client:
        sending = [asyncio.create_task(keep_sending(client, sender)) for sender in range(4)]

        async def under_way() -> bool:
            return len(answered) > 50

        await eventually(under_way)
        running.process.send_signal(signal.SIGTERM)
        began = monotonic()
        assert await asyncio.wait_for(running.process.wait(), 15) == 0
        assert monotonic() - began < 5
        await asyncio.gather(*sending)
    durable = {event.id for event in await events(log, Topic.TELEMETRY)}
    assert set(answered) <= durable


async def test_what_was_answered_survives_a_kill(start: Start, log: EventLog, tenant: Tenant) -> None:
    running = await start()
    async with httpx.AsyncClient(base_url=running.url, headers=tenant.writer) as client:
        batch = [{**CALL, "type": "track", "messageId": str(number)} for number in range(1000)]
        assert (await client.post("/v1/batch", json={"batch": batch})).status_code == 200
        running.process.kill()
    assert len({event.id for event in await events(log, Topic.TELEMETRY)}) == 1000


async def test_it_cannot_start_where_somebody_listens(database: TestDatabase) -> None:
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        process = await launch(database, port)
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.decode() == (
        f"ingest cannot listen on 127.0.0.1:{port} (Address already in use); "
        "free the port, or set KIZASHI_INGEST_PORT or KIZASHI_HOST.\n"
    )


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("KIZASHI_INGEST_PROT", "1", "KIZASHI_INGEST_PROT is not a setting of Kizashi"),
        ("KIZASHI_INGEST_PORT", "http", "KIZASHI_INGEST_PORT is not valid"),
        ("KIZASHI_INGEST_APPEND_DEADLINE_SECONDS", "60", "KIZASHI_INGEST_APPEND_DEADLINE_SECONDS is not valid"),
    ],
)
async def test_a_wrong_setting_is_one_sentence(database: TestDatabase, variable: str, value: str, words: str) -> None:
    process = await launch(database, free_port(), **{variable: value})
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.decode().startswith(words)
    assert errors.count(b"\n") == 1


async def test_a_demos_clock_dates_what_arrives(
    start: Start, log: EventLog, tenant: Tenant, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Domain time stands a month ago; the client's sentAt is real, and that is no skew."""
    domain = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)
    file = tmp_path_factory.mktemp("clock") / "clock.json"
    wall = datetime.now(UTC).isoformat()
    file.write_text(json.dumps({"wall_anchor": wall, "domain_anchor": domain.isoformat(), "rate": 0}))
    running = await start(KIZASHI_DOMAIN_CLOCK_FILE=str(file))
    hour_ago = domain - timedelta(hours=1)
    tomorrow = domain + timedelta(days=1)
    async with httpx.AsyncClient(base_url=running.url, headers=tenant.writer) as client:
        for when in (hour_ago, tomorrow):
            call = {**CALL, "timestamp": when.isoformat(), "sentAt": datetime.now(UTC).isoformat()}
            assert (await client.post("/v1/track", json=call)).status_code == 200
    received = [event for event in await events(log, Topic.TELEMETRY) if isinstance(event, TelemetryReceived)]
    assert [(event.occurred_at, event.received_at, event.flags) for event in received] == [
        (hour_ago, domain, ()),
        (domain, domain, ("timestamp_in_future",)),
    ]
