"""The kizashi command, as an operator of the town runs it."""

from __future__ import annotations

import asyncio
import os
import sys

from services.ingest.bootstrap import Installed
from tests.faults.nursery import ROOT
from tests.faults.town import Town


async def kizashi(
    town: Town, *words: str, log_url: str | None = None, keys: Installed | None = None, failpoints: str = ""
) -> tuple[int, str]:
    """The exit status and what it said. ``log_url`` is the town's own unless another one is given."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("KIZASHI_")}
    services = {
        f"KIZASHI_CLI_{service.upper()}_URL": town.url(f"{service}-0") for service in ("health", "playbook", "notify")
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "cli", *words),
        cwd=ROOT,
        env={
            **own,
            **services,
            "KIZASHI_ENVIRONMENT": "test",
            "KIZASHI_FAILPOINTS": failpoints,
            "KIZASHI_LOG_URL": log_url or town.log_url,
            "KIZASHI_OWNER_DATABASE_URL": town.postgres.owner_url,
            "KIZASHI_CLI_API_KEY": keys.api_key if keys else "",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()
