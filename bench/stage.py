"""Where a scenario plays: one PostgreSQL, one event log, and one process of each service that it asks for, all of it
durable, as an operator would run it, and watched for what it costs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from deploy.local import database, kafka, postgres
from deploy.local.supervisor import ROOT, said_last
from libs.common.errors import NotStarted
from libs.common.event_log import EventLog
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.topics import create_topics
from libs.common.event_log_open import event_log
from libs.common.testing import eventually, free_port
from services.ingest.bootstrap import Installed, install

READY_SECONDS = 60.0
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class Cost:
    """CPU seconds used since the process was born, and megabytes resident now; of all its processes together. Of pages
    that processes share, each has its part, so that sums are what all of them take."""

    cpu_seconds: float
    rss_mb: float

    def __sub__(self, before: Cost) -> Cost:
        """What was used since ``before``; the memory is that of now."""
        return Cost(self.cpu_seconds - before.cpu_seconds, self.rss_mb)


@dataclass(frozen=True)
class Actor:
    """A process on the stage, by the name of what it is: ``ingest``, ``postgres``, ``broker`` …"""

    name: str
    pid: int
    url: str = ""

    def cost(self) -> Cost:
        """Of the process and all that it has started, those included that have ended meanwhile."""
        first = psutil.Process(self.pid)
        seconds, resident = 0.0, 0
        for process in (first, *first.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seconds += times.user + times.system
                seconds += times.children_user + times.children_system
                memory = process.memory_full_info()
                resident += getattr(memory, "pss", memory.rss)  # Linux alone knows the former
        return Cost(seconds, resident / 1e6)


class Stage:
    """``kafka_jars`` as in deploy.local.kafka; ``folder`` is the scenario's own and goes with it."""

    def __init__(self, engine: str, folder: Path, keys: Installed, urls: Mapping[str, str], stack: AsyncExitStack):
        self.engine = engine
        self.folder = folder
        self.keys = keys
        self.database_url, self.owner_url, self.log_url = urls["database"], urls["owner"], urls["log"]
        self.actors: dict[str, Actor] = {}
        self._stack = stack

    def event_log(self, name: str) -> EventLog:
        """The stage's log, not yet open."""
        return event_log(self.log_url, name=name, kafka=KafkaAccess(locks_url=self.database_url))

    @property
    def environment(self) -> dict[str, str]:
        """Of every process on the stage: this one's, and what an installation sets."""
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("KIZASHI_")},
            "KIZASHI_ENVIRONMENT": "test",
            "KIZASHI_DATABASE_URL": self.database_url,
            "KIZASHI_LOG_URL": self.log_url,
            "KIZASHI_CONFIG_DIR": str(ROOT / "config"),
            "KIZASHI_LOGGING_LEVEL": "warning",
            # How much it can take is what is measured. Of history it takes what it takes by default.
            "KIZASHI_INGEST_KEY_EVENTS_PER_S": "0",
        }

    async def start(
        self,
        name: str,
        module: str | None = None,
        *,
        settings_of: str | None = None,
        arguments: Sequence[str] = (),
        **environment: str,
    ) -> Actor:
        """Start ``python -m module`` (``services.<name>`` unless said otherwise) and wait until it is ready; it is
        stopped when the stage goes. ``settings_of`` names the service whose settings it reads, if not its own;
        ``environment`` adds to what an installation sets; ``{port}`` in ``arguments`` is the port that it is asked on.
        """
        port = free_port()
        variables = {
            **self.environment,
            f"KIZASHI_{(settings_of or name).upper()}_PORT": str(port),
            **environment,
        }
        log = self.folder / f"{name}.log"
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module or f"services.{name}",
                *(argument.format(port=port) for argument in arguments),
                cwd=ROOT,
                env=variables,
                stdout=out,
                stderr=out,
            )
        self._stack.push_async_callback(_end, process)
        actor = self.actors[name] = Actor(name, process.pid, f"http://127.0.0.1:{port}")
        async with httpx.AsyncClient(timeout=2) as http:

            async def is_ready() -> bool:
                if process.returncode is not None:
                    raise NotStarted(f"{name} ended at once: {said_last(log)}")
                try:
                    return (await http.get(f"{actor.url}/readyz")).is_success
                except httpx.TransportError:
                    return False

            await eventually(is_ready, within_seconds=READY_SECONDS, what=f"{name} is ready")
        return actor

    async def end(self, actor: Actor) -> None:
        """SIGTERM, and wait."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(actor.pid)
            process.terminate()
            await asyncio.to_thread(process.wait, STOP_SECONDS)
        self.actors.pop(actor.name, None)

    def costs(self) -> dict[str, Cost]:
        """Of everything on the stage, by name, up to now."""
        return {name: actor.cost() for name, actor in self.actors.items()}


@asynccontextmanager
async def stage(engine: str, *, commit_times: bool = False) -> AsyncIterator[Stage]:
    """``engine`` of the event log, ``postgres`` or ``kafka``. With ``commit_times`` PostgreSQL remembers when each
    transaction was committed, so that the moment at which a row could be seen is known exactly. Raises NotStarted."""
    folder = _own_folder()
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        settings = {"track_commit_timestamp": "on"} if commit_times else {}
        server = await asyncio.to_thread(postgres.start, folder / "postgres", settings=settings)
        stack.push_async_callback(asyncio.to_thread, server.stop)
        await database.prepare(server)
        urls = {
            "database": server.url(database.LOGIN, database.NAME),
            "owner": server.url(database.OWNER, database.NAME),
        }
        urls["log"] = urls["database"]
        actors = {"postgres": Actor("postgres", server.pid)}
        if engine == "kafka":
            broker = await asyncio.to_thread(kafka.start, folder / "kafka")
            stack.push_async_callback(asyncio.to_thread, broker.stop)
            urls["log"] = broker.url
            await create_topics(broker.url, KafkaAccess(locks_url=urls["database"]), retention_days=7)
            actors["broker"] = Actor("broker", broker.pid)
        keys = await install(urls["owner"], "Bench", "Product")
        made = Stage(engine, folder, keys, urls, stack)
        made.actors.update(actors)
        yield made


def _own_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="kizashi-bench-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
    return folder


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
