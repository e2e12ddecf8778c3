"""PostgreSQL itself is killed, again and again, while consumers and relay are at work: nothing is lost or doubled, and
no record is blamed for it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.local.postgres import EmbeddedPostgres, start
from libs.common.errors import RetryLater
from libs.common.event_log_open import event_log
from libs.common.events import Event
from libs.common.migrate import migrate
from libs.common.outbox import Relay
from libs.common.testing import eventually
from tests.conftest import LOGIN, OWNER
from tests.integration.common.conftest import World
from tests.integration.common.tally import echo, make_service, publish, tally, telemetry, worker


class Server:
    """A durable PostgreSQL of this test's own."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self.running: EmbeddedPostgres = start(data)

    def kill(self) -> None:
        postmaster = psutil.Process(self.running.pid)
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=10)

    def start(self) -> None:
        self.running = start(self._data)


@pytest.fixture
def server() -> Iterator[Server]:
    home = Path(tempfile.mkdtemp(prefix="kizashi-killed-"))
    home.chmod(0o755)
    made = Server(home / "postgres")
    yield made
    made.running.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def fragile(server: Server) -> AsyncIterator[World]:
    url, owner_url = server.running.url(LOGIN, "postgres"), server.running.url(OWNER, "postgres")
    await migrate(owner_url, LOGIN)
    owner = await asyncpg.connect(owner_url)
    await make_service(owner, "tally")
    await make_service(owner, "echo")
    log = event_log(url, name="test")
    await log.open()
    database = worker(url, "tally")
    yield World(url, owner_url, owner, database, log)
    await database.close()
    await log.close()


async def publish_for_sure(world: World, events: Sequence[Event]) -> None:
    """As a producer does that did not hear an answer: once more."""

    async def taken() -> bool:
        try:
            await publish(world.log, events)
        except RetryLater:
            return False
        return True

    await eventually(taken, within_seconds=30, what="the log takes events")


async def test_the_server_is_killed_in_the_middle_of_the_work(server: Server, fragile: World) -> None:
    world, others = fragile, worker(fragile.url, "echo")
    loops = [
        tally(world.log, world.worker, batch_size=3),
        echo(world.log, others),
        Relay("tally", world.worker, world.log, world.url),
    ]
    events = 0
    async with world.running(*loops):
        for round_ in range(2):
            await publish_for_sure(world, [telemetry(n) for n in range(events, events + 200)])
            events += 200

            async def some_are_through(goal: int = events - 150) -> bool:
                return bool(await world.ask("SELECT count(*) >= $1 FROM tally.effect", goal))

            await eventually(some_are_through, within_seconds=30, what=f"the work of round {round_} is under way")
            server.kill()
            server.start()
            world.owner = await asyncpg.connect(world.owner_url)

        async def all_through() -> bool:
            return len(await world.times("echo")) == events

        await eventually(all_through, within_seconds=30, what="everything is through")
    once = {f"message-{n}": 1 for n in range(events)}
    assert await world.times("tally") == once
    assert await world.times("echo") == once
    assert await world.letters() == []
    assert await world.ask("SELECT count(*) FROM echo.dead_letter") == 0
    await others.close()
    await world.owner.close()
