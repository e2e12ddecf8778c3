"""The installation's database: made once, brought to the newest schema, given a workspace with its first keys."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import asyncpg

from deploy.local.home import Home, read_json, write_private
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.supervisor import ROOT
from libs.common.errors import NotStarted

NAME = "kizashi"
OWNER, LOGIN = "postgres", "kizashi"
WORKSPACE = {True: ("Demo", "Demo product"), False: ("Default", "First product")}
"""By whether it is a demo: the names of the first workspace and of its first source."""


async def prepare(postgres: EmbeddedPostgres) -> None:
    """Make the database if it is new, and migrate it. Raises NotStarted."""
    try:
        owner = await asyncpg.connect(postgres.url(OWNER, "postgres"), timeout=10)
    except (OSError, TimeoutError, asyncpg.PostgresError) as exc:
        raise NotStarted(f"The embedded PostgreSQL does not answer ({exc}); its log is {postgres.log}.") from exc
    try:
        if not await owner.fetchval("SELECT true FROM pg_database WHERE datname = $1", NAME):
            await owner.execute(f"CREATE DATABASE {NAME} TEMPLATE template0 ENCODING 'UTF8'")
    finally:
        await owner.close()
    await _python("libs.common.migrate", owner_url=postgres.url(OWNER, NAME))


async def first_keys(home: Home, postgres: EmbeddedPostgres, demo: bool) -> dict[str, object]:
    """{"workspace", "source", "write_key", "api_key", "demo"} of this home, made at its first start.

    Raises NotStarted when the home was made for the other kind of installation.
    """
    keys = read_json(home.keys_file)
    if keys is None:
        workspace, source = WORKSPACE[demo]
        said = await _python(
            "services.ingest.bootstrap",
            "--workspace",
            workspace,
            "--source",
            source,
            owner_url=postgres.url(OWNER, NAME),
        )
        keys = {**json.loads(said.splitlines()[-1]), "demo": demo}
        write_private(home.keys_file, keys)
    if keys["demo"] != demo:
        holds, wants = ("the demo", "an empty installation") if keys["demo"] else ("a real installation", "the demo")
        raise NotStarted(
            f"{home.path} holds {holds}, so it cannot be {wants} as well; "
            f"{'leave out' if keys['demo'] else 'keep'} DEMO=0, or name another folder with KIZASHI_HOME."
        )
    return keys


async def _python(module: str, *arguments: str, owner_url: str) -> str:
    """What a program of ours prints. Raises NotStarted with what it complains of."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KIZASHI_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        cwd=ROOT,
        env=inherited | {"KIZASHI_OWNER_DATABASE_URL": owner_url},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        said, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        last = complained.decode(errors="replace").strip().splitlines()[-1:]
        raise NotStarted(last[0] if last else f"{module} ended with status {process.returncode}.")
    return said.decode()
