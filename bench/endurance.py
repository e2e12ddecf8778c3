"""Ingest under load for minutes, in batches and single calls at once: whether its memory stays what it was."""

from __future__ import annotations

import asyncio
import contextlib

from bench.figures import Measured
from bench.ingest import BATCHES, SINGLES
from bench.load import drive, find_wrk
from bench.progress import tell
from bench.sizes import Size
from bench.stage import Actor, stage

LOADS = (BATCHES, SINGLES)
LOOK_SECONDS = 1.0
WARM_SHARE = 0.1
"""Of the looks, after which memory is expected to stay what it is."""
TELL_EVERY = 30


async def run(engine: str, size: Size) -> Measured:
    find_wrk()
    resident_mb: list[float] = []
    async with stage(engine) as ours:
        ingest = await ours.start("ingest")
        looking = asyncio.create_task(_look(ingest, resident_mb))
        driven = await asyncio.gather(
            *(drive(load, ingest.url, ours.keys.write_key, size.endurance_seconds, ours.folder) for load in LOADS)
        )
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
    warm = resident_mb[int(len(resident_mb) * WARM_SHARE) :]
    return {
        "endurance_s": size.endurance_seconds,
        "endurance_events_per_s": sum(
            one.requests_per_s * load.events for one, load in zip(driven, LOADS, strict=True)
        ),
        "endurance_begin_rss_mb": warm[0],
        "endurance_middle_rss_mb": warm[len(warm) // 2],
        "endurance_end_rss_mb": warm[-1],
        "endurance_end_rss_over_begin": warm[-1] / warm[0],
    }


async def _look(ingest: Actor, resident_mb: list[float]) -> None:
    while True:
        resident_mb.append(ingest.cost().rss_mb)
        if len(resident_mb) % TELL_EVERY == 0:
            tell(f"after {len(resident_mb) * LOOK_SECONDS:.0f} s: {resident_mb[-1]:.0f} MB")
        await asyncio.sleep(LOOK_SECONDS)
