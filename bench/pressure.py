"""A quiet product beside one that floods: single calls of one write key, alone, and beside another key far over its
quota, which sends batches and single calls as fast as it is answered.

Turn and turn about, so that a slow moment of the machine falls on both. The flood is measured when it has spent what a
key may send at once after a rest.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from time import perf_counter

import aiohttp
import httpx

from bench.calls import call, single
from bench.figures import Measured, NotMeasured
from bench.load import Flooded, Load, find_wrk, flood
from bench.percentiles import latencies
from bench.progress import tell
from bench.sizes import Size
from bench.stage import Actor, Stage, stage
from bench.traffic import steadily
from libs.common.clock import wall_now
from services.ingest.settings import IngestSettings

QUIET_PER_S = 50
ROUNDS = 3
BURST_SPENT_SECONDS = 4
"""From the beginning of the flood, until its key owes events."""
FLOODS = (Load("/v1/batch", events=100, connections=32), Load("/v1/track", events=1, connections=32))
QUOTA = int(IngestSettings.model_fields["ingest_key_events_per_s"].default)


async def run(engine: str, size: Size) -> Measured:
    find_wrk()
    async with stage(engine) as at:
        ingest = await at.start("ingest", KIZASHI_INGEST_KEY_EVENTS_PER_S=str(QUOTA))
        quiet_key = await _another_key(at, ingest)
        headers = {"x-write-key": quiet_key, "content-type": "application/json"}
        alone: list[timedelta] = []
        beside: list[timedelta] = []
        floods: list[Flooded] = []
        used = 0.0
        async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as http:
            await _quietly(http, ingest, 1)  # the key is looked up, the connections are made
            for number in range(ROUNDS):
                alone += await _quietly(http, ingest, size.pressure_seconds)
                tell(f"flood {number + 1} of {ROUNDS}")
                flooding = asyncio.create_task(_flood(at, ingest, BURST_SPENT_SECONDS + size.pressure_seconds + 1))
                try:
                    await asyncio.sleep(BURST_SPENT_SECONDS)
                    before = ingest.cost()
                    beside += await _quietly(http, ingest, size.pressure_seconds)
                    used += (ingest.cost() - before).cpu_seconds
                    floods += await flooding
                finally:
                    flooding.cancel()
    if not all(one.refused for one in floods):
        raise NotMeasured("A flood was refused nothing: it was none.")
    name = "ingest_quiet_single"
    found = {**latencies(name, alone), **latencies(f"{name}_beside_flood", beside)}
    seconds = sum(one.seconds for one in floods) / len(FLOODS)
    return {
        **found,
        "ingest_p99_beside_flood_over_alone": found[f"{name}_beside_flood_p99_ms"] / found[f"{name}_p99_ms"],
        "ingest_flood_requests_per_s": sum(one.requests for one in floods) / seconds,
        "ingest_beside_flood_cpu_share": used / (ROUNDS * size.pressure_seconds),
    }


async def _another_key(at: Stage, ingest: Actor) -> str:
    """Of the same source, so that all that differs is the key."""
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {at.keys.api_key}"}) as http:
        made = await http.post(f"{ingest.url}/v1/sources/{at.keys.source}/write-keys", json={"name": "quiet"})
        made.raise_for_status()
        return str(made.json()["write_key"])


async def _quietly(http: aiohttp.ClientSession, ingest: Actor, seconds: int) -> list[timedelta]:
    """How long each answer took. Raises NotMeasured for any but a 200."""
    took: list[timedelta] = []

    async def one(number: int) -> None:
        body = single(call(number, f"quiet-{number}", wall_now()))
        began = perf_counter()
        async with http.post(f"{ingest.url}/v1/track", data=body) as answer:
            said = await answer.read()
        took.append(timedelta(seconds=perf_counter() - began))
        if answer.status != 200:
            raise NotMeasured(f"The quiet key was answered {answer.status} {said[:200].decode(errors='replace')}")

    await steadily(one, QUIET_PER_S, seconds)
    return took


async def _flood(at: Stage, ingest: Actor, seconds: int) -> list[Flooded]:
    return await asyncio.gather(*(flood(load, ingest.url, at.keys.write_key, seconds, at.folder) for load in FLOODS))
