"""Connections that announce a body and do not bring it take nobody else's room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from libs.common.testing import eventually
from services.ingest.pressure import AHEAD_TIMES, BODY_TIMES, REQUEST_BYTES
from tests.integration.ingest.conftest import Running, Start, Tenant

BODY_BYTES = 100_000
ROOM_BYTES = 6_000_000
BATCH = {"batch": [{"type": "track", "event": "Report Exported", "userId": "u1"}]}
LARGE = BATCH | {"context": {"text": "x" * (BODY_BYTES - 1000)}}


class Silent(NamedTuple):
    """Of such connections: what they are answered, when they are."""

    readers: list[asyncio.StreamReader]

    async def first_answer(self) -> bytes:
        reading = [asyncio.create_task(reader.read()) for reader in self.readers]
        done, waiting = await asyncio.wait(reading, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        return done.pop().result()


@asynccontextmanager
async def silent(running: Running, count: int, begins: bytes, *tenants: Tenant) -> AsyncIterator[Silent]:
    """So many connections for each tenant, or without a key, that never send more than the beginning."""
    address = urlsplit(running.url)
    opened = []
    for key in [f"x-write-key: {tenant.write_key}\r\n" for tenant in tenants] or [""]:
        head = f"POST /v1/batch HTTP/1.1\r\nhost: ingest\r\n{key}content-length: {BODY_BYTES}\r\n\r\n"
        for _ in range(count):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(head.encode() + begins)
            opened.append((reader, writer))
    yield Silent([reader for reader, _ in opened])
    for _, writer in opened:
        writer.close()


@pytest.fixture
async def small(start: Start) -> Running:
    """With room for few requests, so that few connections fill it."""
    return await start(
        KIZASHI_INGEST_BODY_LIMIT_BYTES=str(BODY_BYTES),
        KIZASHI_INGEST_BATCH_LIMIT_EVENTS="100",
        KIZASHI_INGEST_IN_FLIGHT_LIMIT_BYTES=str(ROOM_BYTES),
    )


async def held_bytes(client: httpx.AsyncClient) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("kizashi_ingest_in_flight_bytes "))


async def test_what_is_only_announced_takes_nobodys_room(small: Running, tenant: Tenant, neighbour: Tenant) -> None:
    """All of what these announce would be more than there is."""
    count = ROOM_BYTES // (2 * BODY_BYTES * BODY_TIMES)
    async with (
        httpx.AsyncClient(base_url=small.url, headers=tenant.writer, timeout=30) as client,
        silent(small, count, b"{", tenant, neighbour),
    ):

        async def all_are_here() -> bool:
            return await held_bytes(client) >= 2 * count * REQUEST_BYTES

        await eventually(all_are_here)
        assert (await client.post("/v1/batch", json=LARGE)).status_code == 200


async def test_who_stops_in_the_middle_gives_way(small: Running, tenant: Tenant, neighbour: Tenant) -> None:
    begins = b"{" + b" " * (BODY_BYTES // AHEAD_TIMES)
    count = ROOM_BYTES // 2 // (BODY_BYTES * BODY_TIMES + REQUEST_BYTES)
    async with (
        httpx.AsyncClient(base_url=small.url, headers=tenant.writer, timeout=30) as client,
        silent(small, count, begins, tenant, neighbour) as attack,
    ):

        async def is_full() -> bool:
            return await held_bytes(client) > 2 * count * BODY_BYTES * BODY_TIMES

        await eventually(is_full)

        async def is_taken() -> bool:
            return (await client.post("/v1/batch", json=LARGE)).status_code == 200

        await eventually(is_taken, within_seconds=15)
        head, _, body = (await attack.first_answer()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"connection: close" in head.lower()
        assert b"retry-after: 2" in head.lower()
        assert b'"code":"busy"' in body


async def test_connections_without_a_key_give_way_to_those_that_show_theirs_in_the_body(
    small: Running, tenant: Tenant
) -> None:
    count = ROOM_BYTES // 2 // REQUEST_BYTES
    async with (
        httpx.AsyncClient(base_url=small.url, timeout=30) as client,
        silent(small, count, b"{") as attack,
    ):

        async def is_full() -> bool:
            return await held_bytes(client) > ROOM_BYTES / 2 - REQUEST_BYTES

        await eventually(is_full)

        async def is_taken() -> bool:
            return (await client.post("/v1/batch", json=BATCH | {"writeKey": tenant.write_key})).status_code == 200

        await eventually(is_taken, within_seconds=15)
        assert (await attack.first_answer()).startswith(b"HTTP/1.1 503 ")
