"""Runs a product with a client in a process of its own, where nothing but that client is installed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.integration.ingest.clients.install import HERE, RUDDER, SEGMENT, SEGMENT_BEFORE, PythonClient

CALLS = ("identify", "group", "track", "page", "screen", "alias")
MODULES = {
    SEGMENT: "segment.analytics.client",
    SEGMENT_BEFORE: "segment.analytics.client",
    RUDDER: "rudderstack.analytics.client",
}
"""Of the clients that have one and the same programming interface."""


@dataclass(frozen=True)
class Job:
    """What one client does: ``calls`` for ``user``, who belongs to ``account``. ``options`` are the client's own."""

    name: str
    host: str
    key: str
    user: str
    account: str
    calls: Sequence[str] = CALLS
    padding: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """``sent`` has the message id of each call that the client took; ``problems`` is what it told its owner."""

    sent: Mapping[str, str]
    problems: Sequence[str]


async def drive(client: PythonClient, jobs: Iterable[Job], within_seconds: float = 30) -> dict[str, Done]:
    """All jobs at once, each with a client of its own. Raises AssertionError with what the process said last."""
    script = HERE / "python" / "segment_family.py"
    given = json.dumps([asdict(job) for job in jobs])
    printed = await run_python(client, [str(script), MODULES[client]], given, within_seconds)
    return {name: Done(**done) for name, done in json.loads(printed).items()}


async def run_python(client: PythonClient, arguments: Sequence[str], given: str, within_seconds: float = 30) -> str:
    """What it prints. It finds the standard library, the client and what the client needs: nothing else."""
    return await run([sys.executable, "-S", *arguments], {"PYTHONPATH": str(client.folder)}, given, within_seconds)


async def run(
    command: Sequence[str], variables: Mapping[str, str], given: str, within_seconds: float, folder: Path = HERE
) -> str:
    """What a command prints that must succeed in time."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **variables},
        cwd=folder,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(within_seconds):
            printed, said = await process.communicate(given.encode())
    except TimeoutError:
        process.kill()
        _, said = await process.communicate()
        raise AssertionError(f"{command} took longer than {within_seconds} s: {said.decode()[-2000:]}") from None
    assert process.returncode == 0, f"{command}: {said.decode()[-2000:]}"
    return printed.decode()
