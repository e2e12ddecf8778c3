"""A file of history, as a product exports it, and its import as people do it: by ``kizashi import``."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from bench.figures import NotMeasured
from bench.stage import Stage
from bench.traffic import FEATURES, PEOPLE, Product
from deploy.local.supervisor import ROOT

ACCOUNTS = 500
"""That have a past."""
DAYS = 60
"""Of it."""


def write_history(file: Path, customer: Product, events: int) -> None:
    with file.open("w") as out:
        for one in _calls(customer, events):
            out.write(json.dumps(one, separators=(",", ":")))
            out.write("\n")


def _calls(customer: Product, events: int) -> Iterator[Mapping[str, Any]]:
    luck = random.Random(3)  # noqa: S311 - no secret
    now = customer.clock.now()
    for _ in range(events):
        yield used(customer, f"past-{luck.randrange(ACCOUNTS):04d}", luck, now)


def used(customer: Product, account: str, luck: random.Random, until: datetime) -> dict[str, Any]:
    """Somebody of the account used something, some time before."""
    at = until - timedelta(days=DAYS) * luck.random()
    context = {"groupId": account}
    return customer.call("track", account, luck.randrange(PEOPLE), event=luck.choice(FEATURES), context=context) | {
        "timestamp": at.isoformat()
    }


async def import_history(stage: Stage, url: str, file: Path) -> None:
    """Returns when every row was accepted. Raises NotMeasured when one was not."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "import", str(file), "--kind", "events", "--yes", "--json"),
        cwd=ROOT,
        env={
            **stage.environment,
            "KIZASHI_CLI_INGEST_URL": url,
            "KIZASHI_CLI_WRITE_KEY": stage.keys.write_key,
        },
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        out, err = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        said = (out + err).decode(errors="replace").strip()
        raise NotMeasured(f"The import ended with status {process.returncode}: {said[-400:]}")
