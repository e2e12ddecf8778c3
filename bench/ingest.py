"""Ingest under load, in batches and single calls: beside itself without its log, the log without it, and a bare server.

Events are counted twice: what wrk was told 200 for, and what the log has more of afterwards.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from bench.figures import Measured, NotMeasured
from bench.load import Driven, Load, drive, find_wrk
from bench.progress import tell
from bench.raw_log import Appended, Asked
from bench.sizes import Size
from bench.stage import Actor, Stage, stage
from deploy.local.supervisor import ROOT
from libs.common.event_log import EventLog
from libs.common.topics import Topic

BATCHES = Load("/v1/batch", events=100, connections=32)
SINGLES = Load("/v1/track", events=1, connections=128)
STORES = ("postgres", "broker")


@dataclass(frozen=True)
class Loaded:
    """One process under one load: what wrk saw, and CPU seconds of the process and of what stores its events.
    ``requests`` were answered with 200, those of the warming included."""

    driven: Driven
    cpu_seconds: float
    store_cpu_seconds: float
    requests: int


async def run(engine: str, size: Size) -> Measured:
    find_wrk()
    async with stage(engine) as ours, _opened(ours.event_log("bench")) as log:
        ingest, without_log, echo = await asyncio.gather(
            ours.start("ingest"),
            ours.start("ingest_without_log", "bench.ingest_without_log", settings_of="ingest"),
            ours.start("echo", "bench.echo"),
        )
        figures: dict[str, float] = {}
        for name, load in (("ingest_batch100", BATCHES), ("ingest_single", SINGLES)):
            loaded = await _counted(ours, log, ingest, load, size)
            without = await _loaded(ours, without_log, load, size)
            bare = await _loaded(ours, echo, load, size)
            figures |= figures_of_load(name, load, loaded)
            figures[f"{name}_over_noop_log"] = loaded.driven.requests_per_s / without.driven.requests_per_s
            figures[f"{name}_over_echo"] = loaded.driven.requests_per_s / bare.driven.requests_per_s
            if load is BATCHES:
                raw = await _raw(ours, log, load, size)
                figures["raw_append_events_per_s"] = raw.records / raw.seconds
                figures["raw_append_cpu_s_per_million"] = raw.cpu_seconds * 1e6 / raw.records
                figures[f"{name}_over_raw_append"] = (
                    loaded.driven.requests_per_s * load.events / figures["raw_append_events_per_s"]
                )
        return {**figures, "ingest_rss_mb": ours.costs()["ingest"].rss_mb}


def figures_of_load(name: str, load: Load, loaded: Loaded) -> dict[str, float]:
    driven = loaded.driven
    millions = driven.requests * load.events / 1e6
    speed = "requests" if load.events == 1 else "events"
    everything = loaded.cpu_seconds + loaded.store_cpu_seconds + driven.cpu_seconds
    return {
        f"{name}_{speed}_per_s": driven.requests_per_s * load.events,
        f"{name}_p50_ms": driven.p50_ms,
        f"{name}_p99_ms": driven.p99_ms,
        f"{name}_cpu_s_per_million": loaded.cpu_seconds / millions,
        f"{name}_store_cpu_s_per_million": loaded.store_cpu_seconds / millions,
        f"{name}_load_cpu_share": driven.cpu_seconds / everything,
    }


async def _counted(ours: Stage, log: EventLog, ingest: Actor, load: Load, size: Size) -> Loaded:
    """As ``_loaded``. Raises NotMeasured when the log does not have exactly what was answered with 200, but for the
    requests that wrk did not wait for at the end of the warming and of the load."""
    begin = await _end(log)
    loaded = await _loaded(ours, ingest, load, size)
    check_growth(load, loaded.requests, await _end(log) - begin)
    return loaded


def check_growth(load: Load, requests: int, grown: int) -> None:
    """``requests`` were answered with 200 in two rounds, and the log has ``grown`` by so many records."""
    least, most = (count * load.events for count in (requests, requests + 2 * load.connections))
    if not least <= grown <= most:
        raise NotMeasured(f"{least} to {most} events were accepted by {load.path}, and the log has {grown} more.")


async def _loaded(ours: Stage, actor: Actor, load: Load, size: Size) -> Loaded:
    """After warming, which looks the write key up and finds the partitions of the keys."""

    async def for_seconds(seconds: int) -> Driven:
        return await drive(load, actor.url, ours.keys.write_key, seconds, ours.folder)

    warming = (await for_seconds(size.ingest_warm_seconds)).requests if size.ingest_warm_seconds else 0
    before = ours.costs()
    driven = await for_seconds(size.ingest_seconds)
    used = {name: (cost - before[name]).cpu_seconds for name, cost in ours.costs().items()}
    tell(f"{actor.name}: {driven.requests_per_s * load.events:,.0f} events/s by {load.path}")
    return Loaded(driven, used[actor.name], sum(used.get(name, 0.0) for name in STORES), warming + driven.requests)


async def _raw(ours: Stage, log: EventLog, load: Load, size: Size) -> Appended:
    """Raises NotMeasured when the log does not have what was appended."""
    asked = Asked(
        workspace=ours.keys.workspace,
        source=ours.keys.source,
        callers=load.connections,
        records=load.events,
        warm_seconds=size.ingest_warm_seconds,
        seconds=size.ingest_seconds,
    )
    begin = await _end(log)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.raw_log",
        msgspec.json.encode(asked).decode(),
        cwd=ROOT,
        env=ours.environment,
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await process.communicate()
    if process.returncode:
        raise NotMeasured(f"Raw appends failed: {err.decode().strip()[-400:]}")
    raw = msgspec.json.decode(out, type=Appended)
    if (grown := await _end(log) - begin) != raw.in_all:
        raise NotMeasured(f"{raw.in_all} records were appended, and the log has {grown} more.")
    tell(f"raw append: {raw.records / raw.seconds:,.0f} events/s")
    return raw


async def _end(log: EventLog) -> int:
    """Records in all partitions of telemetry."""
    return sum((await log.ends([Topic.TELEMETRY])).values())


@asynccontextmanager
async def _opened(log: EventLog) -> AsyncIterator[EventLog]:
    await log.open()
    try:
        yield log
    finally:
        await log.close()
