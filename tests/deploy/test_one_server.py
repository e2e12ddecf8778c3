"""Every command of the compose file does its work: started by hand, with the same environment, on real servers."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import httpx
import pytest

from deploy.local.kafka import EmbeddedKafka
from deploy.local.postgres import EmbeddedPostgres
from libs.common.testing import eventually
from tests.conftest import OWNER
from tests.deploy.compose import SERVICES, seconds, service
from tests.deploy.one_server import OneServer

READY_SECONDS = 60


@pytest.fixture
async def empty(postgres: EmbeddedPostgres) -> AsyncIterator[dict[str, str]]:
    """A database that nobody has migrated; the addresses of the compose file -> those of this machine."""
    name = f"one_server_{uuid.uuid4().hex[:12]}"
    owner = await asyncpg.connect(postgres.url(OWNER, "postgres"))
    await owner.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    there = {user: f"postgresql://{user}@postgres:5432/kizashi" for user in ("kizashi", "postgres")}
    yield {address: postgres.url(user, name) for user, address in there.items()}
    await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await owner.close()


@pytest.fixture(params=["kafka", "postgres"])
async def server(request: pytest.FixtureRequest, empty: dict[str, str], tmp_path: Path) -> AsyncIterator[OneServer]:
    """The compose file on Kafka, as it stands; and with the event log in PostgreSQL."""
    if request.param == "kafka":
        broker: EmbeddedKafka = request.getfixturevalue("kafka")
        log = broker.url
    else:
        log = empty["postgresql://kizashi@postgres:5432/kizashi"]
    running = OneServer(tmp_path, {**empty, "kafka://kafka:9092": log, "mailpit": "localhost"})
    try:
        yield running
    finally:
        await running.kill()


async def test_it_comes_up_serves_and_goes_down(server: OneServer) -> None:
    for once in ("migrate", "migrate", "topics", "topics"):
        status, said = await server.run(once)
        assert status == 0, said
    status, said = await server.run("bootstrap", "--workspace", "Acme", "--source", "Web app")
    assert status == 0, said
    keys = json.loads(said)

    assert not await server.is_healthy("ingest")
    await asyncio.gather(*(server.start(name) for name in SERVICES))
    async with httpx.AsyncClient(timeout=5, headers={"authorization": f"Bearer {keys['api_key']}"}) as http:
        for name in SERVICES:
            await eventually(partial(_is_ready, server, http, name), within_seconds=READY_SECONDS, what=name)
            assert await server.is_healthy(name)
            assert "kizashi_" in (await http.get(f"{server.url(name)}/metrics")).text
        track = {"userId": "user-7", "event": "Report Exported", "properties": {"account_id": "customer-42"}}
        sent = await http.post(f"{server.url('ingest')}/v1/track", json=track, auth=(keys["write_key"], ""))
        assert sent.status_code == 200

        async def scored() -> bool:
            return (await http.get(f"{server.url('health')}/v1/accounts/customer-42/health")).status_code == 200

        await eventually(scored, within_seconds=READY_SECONDS, what="a score")
    status, said = await server.run("kizashi", "accounts", KIZASHI_CLI_API_KEY=keys["api_key"])
    assert status == 0, said
    assert "customer-42" in said

    status, said = await server.run("kizashi", "doctor", "--no-providers")
    assert status == 0, said
    assert "health has read " in said
    assert "Acme is in observe" in said

    for name in SERVICES:
        allowed = seconds(service(name)["stop_grace_period"])
        assert await asyncio.wait_for(server.stop(name), allowed) == 0


async def _is_ready(server: OneServer, http: httpx.AsyncClient, name: str) -> bool:
    server.refuse_dead(name)
    try:
        return (await http.get(f"{server.url(name)}/readyz")).status_code == 200
    except httpx.TransportError:
        return False
