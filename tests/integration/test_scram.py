"""The password that the migrations give is the one that the services log in with, on a server that asks for it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local.postgres import EmbeddedPostgres, start
from libs.common.database_urls import with_password
from libs.common.scram import scram_verifier

ASKS_FOR_PASSWORDS = "local all postgres trust\nlocal all all scram-sha-256\n"


@pytest.fixture(scope="module")
def strict() -> Iterator[EmbeddedPostgres]:
    home = Path(tempfile.mkdtemp(prefix="kizashi-test-"))
    home.chmod(0o755)
    server = start(home / "postgres", durable=False)
    (home / "postgres" / "pg_hba.conf").write_text(ASKS_FOR_PASSWORDS)
    try:
        asyncio.run(_reload(server.url("postgres", "postgres")))
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


async def _reload(url: str) -> None:
    owner = await asyncpg.connect(url)
    await owner.execute("SELECT pg_reload_conf()")
    await owner.close()


async def migrate(server: EmbeddedPostgres, folder: Path, password: str) -> None:
    (folder / "kizashi_database_password").write_text(password)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "libs.common.migrate"),
        env={
            "PATH": os.environ["PATH"],
            "KIZASHI_SECRETS_DIR": str(folder),
            "KIZASHI_OWNER_DATABASE_URL": server.url("postgres", "postgres"),
        },
    )
    assert await process.wait() == 0


async def test_the_login_gets_its_password_and_then_another(strict: EmbeddedPostgres, tmp_path: Path) -> None:
    url = strict.url("kizashi", "postgres")
    await migrate(strict, tmp_path, first := "first 'quoted' $1 :x %s")
    await (await asyncpg.connect(with_password(url, first))).close()
    await migrate(strict, tmp_path, "second")
    await (await asyncpg.connect(with_password(url, "second"))).close()
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(with_password(url, first))


@pytest.mark.parametrize("password", ["", "pässword", "two\nlines"])
def test_a_password_that_programs_could_read_differently_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        scram_verifier(password)
