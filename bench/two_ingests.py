"""Two processes of ingest, as behind a load balancer, beside one alone: each gets half of the connections."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from bench.figures import Measured
from bench.ingest import BATCHES, SINGLES, STORES
from bench.load import Load, drive, find_wrk
from bench.progress import tell
from bench.sizes import Size
from bench.stage import Actor, Stage, stage


async def run(engine: str, size: Size) -> Measured:
    find_wrk()
    async with stage(engine) as ours:
        first = await ours.start("first", "services.ingest", settings_of="ingest")
        second = await ours.start("second", "services.ingest", settings_of="ingest")
        figures: dict[str, float] = {}
        for name, load in (("batch100", BATCHES), ("single", SINGLES)):
            one = await _driven(ours, f"one_ingest_{name}", load, [first], size)
            two = await _driven(ours, f"two_ingests_{name}", load, [first, second], size)
            speed = _speed(load)
            figures |= {**one, **two}
            figures[f"two_ingests_{name}_over_one"] = (
                two[f"two_ingests_{name}_{speed}"] / one[f"one_ingest_{name}_{speed}"]
            )
        return figures


async def _driven(ours: Stage, name: str, load: Load, ingests: Sequence[Actor], size: Size) -> Measured:
    """All of ``ingests`` at once, after warming each."""
    share = replace(load, connections=load.connections // len(ingests))
    for ingest in ingests:
        await drive(share, ingest.url, ours.keys.write_key, max(1, size.ingest_warm_seconds), ours.folder)
    before = ours.costs()
    driven = await asyncio.gather(
        *(drive(share, ingest.url, ours.keys.write_key, size.ingest_seconds, ours.folder) for ingest in ingests)
    )
    used = {actor: (cost - before[actor]).cpu_seconds for actor, cost in ours.costs().items()}
    millions = sum(one.requests for one in driven) * load.events / 1e6
    events_per_s = sum(one.requests_per_s for one in driven) * load.events
    tell(f"{name}: {events_per_s:,.0f} events/s")
    return {
        f"{name}_{_speed(load)}": events_per_s,
        f"{name}_p99_ms": max(one.p99_ms for one in driven),
        f"{name}_cpu_s_per_million": sum(used[ingest.name] for ingest in ingests) / millions,
        f"{name}_store_cpu_s_per_million": sum(used.get(store, 0.0) for store in STORES) / millions,
    }


def _speed(load: Load) -> str:
    return "requests_per_s" if load.events == 1 else "events_per_s"
