"""Health draining a filled log, with a filled claim window: against the same loop without its handlers, against
reading alone, and with ever more accounts."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from bench import claims_only
from bench.drain import Drained, Meter
from bench.figures import Measured, NotMeasured, in_thousands
from bench.fill import Crowd, fill_claims, fill_log
from bench.progress import tell
from bench.sizes import Size
from bench.stage import Stage, stage
from deploy.local.supervisor import ROOT
from libs.common.db import asyncpg_url

STORES = ("postgres", "broker")


async def run(engine: str, size: Size) -> Measured:
    found: dict[str, float] = {}
    fewest, *more = size.account_counts
    async with _filled(engine, size, fewest) as ready:
        raw_read = await _reading_alone(ready, size)
        claimed = await _claims_alone(ready, size)
        drained, routed = await _health(ready, size)
    found |= {
        "health_drain_events_per_s": drained.events_per_s,
        "health_drain_over_claims_only": drained.events_per_s / claimed.events_per_s,
        "health_drain_over_raw_read": drained.events_per_s / raw_read,
        "health_drain_routed_events_per_s": routed.events_per_s,
        "health_cpu_s_per_million": drained.cpu_s_per_million("health"),
        "health_store_cpu_s_per_million": drained.cpu_s_per_million(*STORES),
        "health_routed_cpu_s_per_million": routed.cpu_s_per_million("health"),
        "health_routed_store_cpu_s_per_million": routed.cpu_s_per_million(*STORES),
        "health_rss_mb": routed.costs["health"].rss_mb,
        "claims_only_events_per_s": claimed.events_per_s,
        "claims_only_cpu_s_per_million": claimed.cpu_s_per_million("claims"),
        "claims_only_store_cpu_s_per_million": claimed.cpu_s_per_million(*STORES),
        "raw_read_events_per_s": raw_read,
        f"health_drain_{in_thousands(fewest)}_accounts_events_per_s": drained.events_per_s,
    }
    for accounts in more:
        async with _filled(engine, size, accounts) as ready:
            larger, _ = await _health(ready, size)
        found[f"health_drain_{in_thousands(accounts)}_accounts_events_per_s"] = larger.events_per_s
        found[f"health_drain_{in_thousands(accounts)}_over_{in_thousands(fewest)}"] = (
            larger.events_per_s / drained.events_per_s
        )
    return found


@asynccontextmanager
async def _filled(engine: str, size: Size, accounts: int) -> AsyncIterator[Stage]:
    async with stage(engine) as made:
        tell(f"filling the log with {size.health_events} events of {accounts} accounts")
        log = made.event_log("filler")
        await log.open()
        await fill_log(log, made.keys, Crowd(accounts), size.health_events)
        await log.close()
        await fill_claims(made.owner_url, "health", size.health_claimed_events)
        yield made


async def _reading_alone(made: Stage, size: Size) -> float:
    """Events per second, in a process of its own as health is."""
    reader = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.raw_read", str(size.health_events)),
        cwd=ROOT,
        env={**os.environ, "KIZASHI_DATABASE_URL": made.database_url, "KIZASHI_LOG_URL": made.log_url},
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await reader.communicate()
    if reader.returncode:
        raise NotMeasured("The log could not be read by itself; what bench.raw_read says about it stands above.")
    return float(answer)


async def _claims_alone(made: Stage, size: Size) -> Drained:
    await claims_only.make_schema(made.owner_url)
    await fill_claims(made.owner_url, claims_only.SCHEMA, size.health_claimed_events)
    async with _meter(made, claims_only.SCHEMA) as meter:
        await meter.leave_no_debt()
        starting = asyncio.create_task(made.start(claims_only.SCHEMA, "bench.claims_only"))
        await meter.begun()
        drained = await meter.drained(size.health_events)
        await made.end(await starting)
    return drained


async def _health(made: Stage, size: Size) -> tuple[Drained, Drained]:
    """Until nothing waits in the log, and until nothing waits for the router either."""
    async with _meter(made, "health") as meter:
        await meter.leave_no_debt()
        starting = asyncio.create_task(made.start("health"))
        await meter.begun()
        drained = await meter.drained(size.health_events)
        await meter.empty("health.request")
        routed = meter.since_begin(size.health_events)
        await starting
        counted = await meter.count("SELECT coalesce(sum(n), 0)::bigint FROM health.usage")
    if counted != size.health_events:
        raise NotMeasured(f"Health has counted {counted} events of {size.health_events}.")
    return drained, routed


@asynccontextmanager
async def _meter(made: Stage, schema: str) -> AsyncIterator[Meter]:
    connection = await asyncpg.connect(asyncpg_url(made.owner_url))
    try:
        yield Meter(made, connection, schema)
    finally:
        await connection.close()
