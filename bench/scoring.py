"""Scoring: midnight passes, and every account with nine weeks of history is due at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from time import monotonic

import asyncpg

from bench.figures import Measured, NotMeasured, in_thousands
from bench.progress import tell
from bench.rolled_up import roll_up_days
from bench.sizes import Size
from bench.stage import Stage, stage
from libs.common.clock import Declaration, wall_now
from libs.common.db import asyncpg_url

FEWEST_ACCOUNTS = 1_000
DAYS = 63
"""With fewer there is no past to compare with, and the default model gives no score."""
LOOK_SECONDS = 0.1
LONGEST_SECONDS = 900.0


async def run(engine: str, size: Size) -> Measured:
    found: dict[str, float] = {}
    for accounts in sorted({min(FEWEST_ACCOUNTS, size.scored_accounts), size.scored_accounts}):
        async with stage(engine) as made:
            found |= await one_midnight(made, accounts)
        found[f"scoring_{in_thousands(accounts)}_accounts_per_s"] = found["accounts_scored_per_s"]
    return found


async def one_midnight(made: Stage, accounts: int) -> Measured:
    """How fast every account is scored after the midnight of the domain's clock, and at what cost. The first scoring of
    all is not measured: it makes the accounts."""
    clock = made.folder / "clock.json"
    midnight = datetime.combine(wall_now().date() - timedelta(days=1), time(), UTC)
    before, after = midnight - timedelta(minutes=30), midnight + timedelta(hours=2)
    owner = await asyncpg.connect(asyncpg_url(made.owner_url))
    try:
        tell(f"rolling up {DAYS} days of {accounts} accounts")
        await roll_up_days(owner, made.keys, accounts, (midnight - timedelta(days=1)).date(), DAYS, before)
        _stand_still(clock, before)
        health = await made.start("health", KIZASHI_DOMAIN_CLOCK_FILE=str(clock))
        await _until_scored(owner, accounts, before)
        costs, begun_at = made.costs(), monotonic()
        _stand_still(clock, after)
        await _until_scored(owner, accounts, after)
        seconds, spent = monotonic() - begun_at, made.costs()
    finally:
        await owner.close()
    used = {name: (cost - costs[name]).cpu_seconds for name, cost in spent.items()}
    return {
        "accounts_scored_per_s": accounts / seconds,
        "scoring_cpu_s_per_million_accounts": used.pop(health.name) * 1e6 / accounts,
        "scoring_store_cpu_s_per_million_accounts": sum(used.values()) * 1e6 / accounts,
    }


def _stand_still(clock: Path, moment: datetime) -> None:
    Declaration(wall_anchor=wall_now(), domain_anchor=moment, rate=1, until=moment).write(clock)


async def _until_scored(owner: asyncpg.Connection, accounts: int, moment: datetime) -> None:
    """All accounts, as of ``moment``, and nothing is due any more."""
    deadline = monotonic() + LONGEST_SECONDS
    while await owner.fetchval("SELECT EXISTS (SELECT FROM health.schedule WHERE due_at <= $1)", moment):
        if monotonic() > deadline:
            raise NotMeasured(f"Not every account was scored within {LONGEST_SECONDS:.0f} s.")
        await asyncio.sleep(LOOK_SECONDS)
    scored = await owner.fetchval("SELECT count(*) FROM health.account WHERE as_of = $1 AND score > 0", moment)
    if scored != accounts:
        raise NotMeasured(f"Of {accounts} accounts {scored} have a score as of {moment:%Y-%m-%d %H:%M}.")
