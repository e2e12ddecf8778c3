"""Ten times the load that a process can take, hostile in every way at once, and the log standing still meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from time import monotonic
from urllib.parse import urlsplit

import httpx

from libs.common.testing import eventually
from tests.integration.ingest.conftest import Running, StandsStill, Start, Tenant

MOST_BYTES = 256 * 1024 * 1024
CONNECTIONS = 640
SECONDS = 4.0
PIECE_BYTES = 64 * 1024


def _batch(events: int, event_bytes: int) -> bytes:
    call = {"type": "track", "event": "Report Exported", "userId": "u", "properties": {"text": "x" * event_bytes}}
    return json.dumps({"batch": [{**call, "messageId": str(number)} for number in range(events)]}).encode()


LARGE = _batch(2400, 2000)
MANY = _batch(2500, 100)
CROWD = b'{"batch":[' + b"0," * 450_000 + b"0]}"
BOMB = gzip.compress(bytes(100_000_000), 9)


class Attacker:
    """A connection that sends one body again and again, or never sends the end of it."""

    def __init__(self, running: Running, headers: Mapping[str, str], body: bytes, only_bytes: int | None) -> None:
        self._address = urlsplit(running.url)
        lines = [f"{name}: {value}" for name, value in {**headers, "content-length": str(len(body))}.items()]
        self._head = "\r\n".join(["POST /v1/batch HTTP/1.1", "host: ingest", *lines, "\r\n"]).encode()
        self._body = body
        self._only_bytes = only_bytes
        self.answers: Counter[bytes] = Counter()

    async def attack(self, until: float) -> None:
        while monotonic() < until:
            reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while monotonic() < until:
                    await self._once(reader, writer, until)
            writer.close()

    async def _once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, until: float) -> None:
        writer.write(self._head)
        for begin in range(0, self._only_bytes or len(self._body), PIECE_BYTES):
            writer.write(self._body[begin : begin + PIECE_BYTES])
            await writer.drain()
        if self._only_bytes:
            await asyncio.sleep(until - monotonic())  # as long as it takes
            return
        head = await reader.readuntil(b"\r\n\r\n")
        self.answers[head.split(b" ", 2)[1]] += 1
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))


async def test_memory_stays_bounded(start: Start, stands_still: StandsStill, tenant: Tenant, neighbour: Tenant) -> None:
    running = await start(KIZASHI_INGEST_KEY_EVENTS_PER_S="0", KIZASHI_INGEST_APPEND_DEADLINE_SECONDS="2")
    zipped = {"content-encoding": "gzip"}
    kinds: list[tuple[Mapping[str, str], bytes, int | None]] = [
        (tenant.writer, LARGE, None),
        (neighbour.writer, MANY, None),
        (neighbour.writer, LARGE, None),
        (tenant.writer, MANY, None),
        (tenant.writer, CROWD, None),
        (tenant.writer | zipped, BOMB, None),
        (neighbour.writer, LARGE, 300_000),
        ({"x-write-key": "kzw_unknown"}, LARGE, None),
    ]
    attackers = [Attacker(running, *kind) for kind in kinds * (CONNECTIONS // len(kinds))]
    highest = running.resident_bytes

    async def watch() -> None:
        nonlocal highest
        while True:
            highest = max(highest, running.resident_bytes)
            await asyncio.sleep(0.02)

    async with httpx.AsyncClient(base_url=running.url, headers=tenant.writer, timeout=30) as client:

        async def is_taken() -> bool:
            return (await client.post("/v1/batch", content=MANY)).status_code == 200

        assert await is_taken()
        watching = asyncio.create_task(watch())
        until = monotonic() + SECONDS
        attacks = [asyncio.create_task(attacker.attack(until)) for attacker in attackers]
        with stands_still():
            await asyncio.wait(attacks, timeout=SECONDS / 2)
        await asyncio.gather(*attacks)
        await eventually(is_taken, within_seconds=20)
        watching.cancel()
    answers = Counter(chain.from_iterable(attacker.answers.elements() for attacker in attackers))
    assert answers.keys() <= {b"200", b"401", b"413", b"503"}
    assert answers[b"503"] > 0
    assert highest < MOST_BYTES, (highest, answers)
