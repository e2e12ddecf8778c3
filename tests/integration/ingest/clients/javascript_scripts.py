"""Runs scripts with JavaScript clients: in Node as they are, in a browser bundled, as products do it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.integration.ingest.clients.driving import run
from tests.integration.ingest.clients.install import HERE, JAVASCRIPT

SCRIPTS = HERE / "javascript"


@dataclass(frozen=True)
class NodeJob:
    """What one client does: ``calls`` for ``user``, who belongs to ``account``."""

    name: str
    address: str
    key: str
    user: str
    account: str
    calls: Sequence[str]
    padding: str = ""


@dataclass(frozen=True)
class Told:
    """How many ``calls`` a job made, and what its client told it went wrong."""

    calls: int
    errors: Sequence[str]


@dataclass(frozen=True)
class Workshop:
    """A folder from whose scripts every client can be imported."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Workshop:
        """With every script of tests in it."""
        shutil.copytree(SCRIPTS, folder, dirs_exist_ok=True)
        (folder / "node_modules").symlink_to(JAVASCRIPT / "node_modules")
        return cls(folder)

    async def drive(self, client: str, jobs: Iterable[NodeJob]) -> dict[str, Told]:
        """All jobs at once, in one process."""
        given = json.dumps([asdict(job) for job in jobs])
        printed = json.loads(await self.run(f"{client}.mjs", given))
        return {name: Told(**told) for name, told in printed.items()}

    async def run(self, script: str, given: str = "") -> str:
        """What a script prints that must succeed."""
        return await run(["node", script], {}, given, 30, self.folder)

    async def bundled(self, script: str) -> bytes:
        """One script for a page, with all that it imports."""
        bundled = f"{script}.bundled"
        esbuild = ["node_modules/.bin/esbuild", script, "--bundle", "--log-level=warning", f"--outfile={bundled}"]
        await run(esbuild, {}, "", 30, self.folder)
        return (self.folder / bundled).read_bytes()
