"""The town under test: a real installation with two processes of every service, whose every part can be killed, frozen
and brought back. One town serves many tests, each with a workspace of its own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic

import httpx

from deploy.local import database
from deploy.local.inbox.server import TOKEN, slack_api_url
from deploy.local.kafka_jars import DEFAULT_FOLDER
from deploy.local.supervisor import said_last
from libs.common.event_log import EventLog
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_kafka.topics import create_topics
from libs.common.event_log_open import event_log
from libs.common.testing import eventually, free_port
from services.ingest.bootstrap import Installed, install
from tests.faults.broker import Kafka
from tests.faults.dependencies import Dependency, Postgres, thaw
from tests.faults.nursery import ROOT, Nursery
from tests.faults.processes import Supervised
from tests.faults.schedule import MEMBERS, SERVICES, Engine

OUR_CONFIG = Path(__file__).parent / "config"
LEASE_SECONDS, CALL_SECONDS, MARGIN_SECONDS = 4.0, 2.0, 1.5
"""Of notify: short, since what a dead process had in hand is settled only after all three."""
READY_SECONDS = 120.0
NO_ANSWER = "no answer"
READY_AGAIN_SECONDS = 30.0
"""After a dependency came back."""


class Town:
    """``folder`` holds data and configuration, ``logs`` what the processes say. ``broker`` is None where the log is the
    PostgreSQL itself."""

    def __init__(self, engine: Engine, folder: Path, logs: Path, kafka_jars: Path = DEFAULT_FOLDER) -> None:
        self.engine = engine
        self.folder = folder
        self.logs = logs
        self.postgres = Postgres(folder / "postgres")
        self.broker = Kafka(folder / "kafka", kafka_jars) if engine is Engine.KAFKA else None
        self._nursery = Nursery(self.logs / "nursery.log")
        self.inbox_port, self.smtp_port = free_port(), free_port()
        self.inbox = self._supervised(
            "inbox",
            "deploy.local.inbox",
            *("--port", str(self.inbox_port), "--smtp-port", str(self.smtp_port)),
            *("--journal", str(folder / "inbox.jsonl")),
        )
        self.ports = {f"{service}-{member}": free_port() for service in SERVICES for member in range(MEMBERS)}
        self.processes: dict[str, Supervised] = {}
        self._runs = 0

    @property
    def dependencies(self) -> list[Dependency]:
        """All that must answer: with the log on PostgreSQL that is PostgreSQL alone."""
        return [self.postgres] if self.broker is None else [self.postgres, self.broker]

    def url(self, process: str) -> str:
        return f"http://127.0.0.1:{self.ports[process]}"

    @property
    def inbox_url(self) -> str:
        return f"http://127.0.0.1:{self.inbox_port}"

    def of(self, service: str) -> list[Supervised]:
        return [process for name, process in self.processes.items() if name.startswith(f"{service}-")]

    @property
    def log_url(self) -> str:
        return self.postgres.url if self.broker is None else self.broker.url

    @property
    def kafka_access(self) -> KafkaAccess:
        return KafkaAccess(locks_url=self.postgres.url)

    def event_log(self, name: str) -> EventLog:
        """The town's log, not yet open."""
        return event_log(self.log_url, name=name, kafka=self.kafka_access)

    # --- up and down ---

    async def start(self) -> None:
        """Returns when every process is ready."""
        self.logs.mkdir(parents=True, exist_ok=True)
        for old in self.logs.glob("*.log"):
            old.unlink()
        make_config(self.folder / "config")
        await self._nursery.start()
        await self.postgres.start()
        await database.prepare(self.postgres.running)
        if self.broker is not None:
            await self.broker.start()
            await create_topics(self.log_url, self.kafka_access, retention_days=7)
        await self.inbox.start()
        environment = self._environment()
        for name, port in self.ports.items():
            service = name.partition("-")[0]
            own = {f"KIZASHI_{service.upper()}_PORT": str(port)}
            self.processes[name] = self._supervised(name, f"services.{service}", **environment, **own)
        await self.start_services()

    async def start_services(self) -> None:
        """Those that do not run; returns when all are ready."""
        await asyncio.gather(*(process.start() for process in self.processes.values() if process.is_given_up))
        await self.until_ready(READY_SECONDS)

    async def mend(self) -> None:
        """Whatever an earlier test that failed has left frozen or dead is at work again."""
        for dependency in self.dependencies:
            thaw(dependency)
            await dependency.start()
        for process in self.processes.values():
            process.thaw()
        await self.start_services()

    async def stop(self) -> None:
        """Without a check of anything: what stands still or hangs is killed."""
        await asyncio.gather(*(process.end() for process in [*self.processes.values(), self.inbox]))
        await self._nursery.stop()
        for dependency in reversed(self.dependencies):
            await dependency.stop()

    async def new_workspace(self) -> Installed:
        """A workspace with its keys that may tell as much as it likes, its source live."""
        self._runs += 1
        made = await install(self.postgres.owner_url, f"run {self._runs}", "product")
        admin = {"authorization": f"Bearer {made.api_key}"}
        async with httpx.AsyncClient(headers=admin, timeout=20) as http:
            live = await http.post(f"{self.url('ingest-0')}/v1/sources/{made.source}/live")
            live.raise_for_status()
            caps = {"slack": 100_000, "email": 100_000}
            wanted = {"mode": "enabled", "kill_switch": False, "hourly_cap": caps}
            mode = await http.put(f"{self.url('notify-0')}/v1/delivery-mode", json=wanted)
            mode.raise_for_status()
        return made

    # --- what it is like ---

    async def problems(self, probe: str = "readyz") -> dict[str, str]:
        """Of each process that is not ready (or not live), what it says is missing."""
        async with httpx.AsyncClient(timeout=3) as http:
            answers = await asyncio.gather(*(self._problem(http, name, probe) for name in self.processes))
        return {name: answer for name, answer in zip(self.processes, answers, strict=True) if answer}

    async def _problem(self, http: httpx.AsyncClient, name: str, probe: str) -> str:
        try:
            answer = await http.get(f"{self.url(name)}/{probe}")
        except httpx.TransportError as exc:
            return f"{NO_ANSWER}: {type(exc).__name__}"
        return "" if answer.is_success else "; ".join(answer.json()["problems"])

    async def until_ready(self, within_seconds: float = READY_AGAIN_SECONDS) -> float:
        """The seconds that it took until every process was. Raises AssertionError with what is missing."""
        started = monotonic()
        missing: dict[str, str] = {}

        async def ready() -> bool:
            for process in self.processes.values():
                assert not process.is_given_up, f"{process.name} cannot run: {said_last(process.log)}"
            missing.clear()
            missing.update(await self.problems())
            return not missing

        try:
            await eventually(ready, within_seconds=within_seconds, what="every process is ready")
        except AssertionError as exc:
            raise AssertionError(f"{exc}: {missing}; logs are in {self.logs}") from None
        return monotonic() - started

    async def until_up(self, names: Collection[str]) -> None:
        """Until these processes answer, however little they can do while something else is down; or have died or frozen
        as soon as they were there."""
        starts = {name: len(self.processes[name].starts) for name in names}

        async def up() -> bool:
            problems = await self.problems("livez")
            return not any(
                problems.get(name, "").startswith(NO_ANSWER)
                and len(self.processes[name].starts) == starts[name]
                and not self.processes[name].is_frozen
                for name in names
            )

        await eventually(up, within_seconds=READY_SECONDS, what=f"{', '.join(names)} answer")

    def unplanned_starts(self, since: float = 0.0) -> dict[str, int]:
        """How often each process had to be started again since that moment (monotonic)."""
        counted = {
            name: sum(not start.planned and start.at >= since for start in process.starts)
            for name, process in self.processes.items()
        }
        return {name: count for name, count in counted.items() if count}

    # --- the parts ---

    def _supervised(self, name: str, *command: str, **environment: str) -> Supervised:
        return Supervised(name, command, environment, self.logs / f"{name}.log", self._nursery)

    def _environment(self) -> dict[str, str]:
        return {
            "KIZASHI_ENVIRONMENT": "test",
            "KIZASHI_DATABASE_URL": self.postgres.url,
            "KIZASHI_CONFIG_DIR": str(self.folder / "config"),
            "KIZASHI_NOTIFY_SLACK_API_URL": slack_api_url(self.inbox_url),
            "KIZASHI_NOTIFY_SLACK_BOT_TOKEN": TOKEN,
            "KIZASHI_NOTIFY_SMTP_HOST": "127.0.0.1",
            "KIZASHI_NOTIFY_SMTP_PORT": str(self.smtp_port),
            "KIZASHI_NOTIFY_SMTP_TLS": "none",
            "KIZASHI_NOTIFY_LEASE_SECONDS": str(LEASE_SECONDS),
            "KIZASHI_NOTIFY_CLIENT_TIMEOUT_SECONDS": str(CALL_SECONDS),
            "KIZASHI_NOTIFY_SETTLE_MARGIN_SECONDS": str(MARGIN_SECONDS),
            "KIZASHI_LOG_URL": self.log_url,
            # What an outage has left the product is sent as fast as it is taken.
            "KIZASHI_INGEST_KEY_EVENTS_PER_S": "0",
            "KIZASHI_INGEST_KEY_IMPORT_EVENTS_PER_S": "0",
        }


def make_home() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="kizashi-town-"))
    folder.chmod(0o755)  # PostgreSQL runs as another user when we are root
    return folder


def make_config(folder: Path) -> None:
    """What is shipped, with a model and a playbook that tell at once."""
    shutil.copytree(ROOT / "config", folder, ignore=shutil.ignore_patterns("playbooks"))
    shutil.copytree(OUR_CONFIG, folder, dirs_exist_ok=True)


@asynccontextmanager
async def town(engine: Engine, logs: Path | None = None, *, kafka_jars: Path = DEFAULT_FOLDER) -> AsyncIterator[Town]:
    """A running town for the length of the block; everything of it is ended with it. Logs outlive it in ``logs``."""
    folder = make_home()
    made = Town(engine, folder, logs or folder / "logs", kafka_jars)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.push_async_callback(made.stop)
        await made.start()
        yield made
