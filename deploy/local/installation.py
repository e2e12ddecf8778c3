"""One installation on one machine: brings everything up in order, keeps run.json true, and takes everything down."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn

import httpx

from deploy.local import database, kafka, leftovers
from deploy.local.demo.clock_at_start import set_the_clock
from deploy.local.home import Home, write_private
from deploy.local.kafka import EmbeddedKafka
from deploy.local.log import expect_its_own_log, make_topics
from deploy.local.postgres import EmbeddedPostgres, start
from deploy.local.settings import PROCESSES, LocalSettings
from deploy.local.supervisor import Program, Supervisor, said_last
from deploy.local.surroundings import brings_real_mail, brings_real_slack, environment
from deploy.local.terminal import Terminal
from libs.common.errors import NotStarted
from libs.common.event_log_open import event_log
from libs.common.testing import free_port

READY_SECONDS = 60.0
WATCH_SECONDS = 0.5
STOP_SECONDS = 9.0
SERVICES_STOP_SECONDS = 6.0
FLAPPING = (15, 60.0)
"""So many starts of one process within so many seconds mean that starting it again does not help. Whoever kills it on
purpose, to see it come back, does not get there."""


class Installation:
    """A running installation. ``urls`` are where its processes answer, ``keys`` what they ask for; ``is_new`` says that
    the demo's story has not begun yet."""

    def __init__(self, settings: LocalSettings, home: Home, terminal: Terminal) -> None:
        self.settings = settings
        self.home = home
        self.ports = settings.ports()
        self.urls = {
            name: f"http://127.0.0.1:{port}" if name == "inbox" else settings.url(port)
            for name, port in self.ports.items()
        }
        self.smtp_port = settings.local_smtp_port or free_port()
        self.keys: dict[str, Any] = {}
        self.is_new = False
        self._terminal = terminal
        self._postgres: EmbeddedPostgres | None = None
        self._kafka: EmbeddedKafka | None = None
        self._supervisor: Supervisor | None = None
        self._pids: dict[str, int] = {}
        self._starts: dict[str, deque[float]] = {}

    # --- up ---

    async def start(self) -> None:
        """Returns when all can do their work. Raises NotStarted with one sentence."""
        step = self._terminal.step
        if ended := await asyncio.to_thread(leftovers.end_leftovers, self.home):
            self._terminal.line(f"  ended what an earlier start left running: {', '.join(ended)}")
        self._refuse_ports_in_use()
        with step("PostgreSQL 18"):
            self._postgres = start(self.home.postgres)  # not in a thread, which a Ctrl-C would leave behind
        await self._start_kafka()
        with step("database at its newest schema"):
            await database.prepare(self._postgres)
        await self._check_the_log()
        with step("workspace, source and keys"):
            self.keys = await database.first_keys(self.home, self._postgres, self.settings.demo)
        if self.settings.demo:
            self.is_new = set_the_clock(self.home, self.settings)
        with step(", ".join(PROCESSES)):
            self._supervisor = Supervisor(self.home, self._programs(), self._environment())
            await self._until_ready()

    async def _start_kafka(self) -> None:
        if not self.settings.brings_a_broker:
            await asyncio.to_thread(kafka.stop_left_running, self.home.kafka)
            return
        with self._terminal.step("Apache Kafka 4, with its topics"):
            port, jars = self.settings.local_kafka_port or 0, self.settings.local_kafka_jars
            self._kafka = kafka.start(self.home.kafka, port=port, jars=jars)
            await make_topics(self._kafka.url, self.settings.log_retention_days)

    async def _check_the_log(self) -> None:
        access = self.settings.kafka_access if self.settings.log_url is not None else None
        await expect_its_own_log(
            event_log(self.log_url, name="make run", kafka=access),
            self.log_url,
            self._database_url(database.OWNER),
            self.home.path,
            is_new=not self.home.keys_file.exists(),
        )

    def _refuse_ports_in_use(self) -> None:
        for name, port in [*self.ports.items(), ("the inbox's SMTP server", self.smtp_port)]:
            host = "127.0.0.1" if "inbox" in name else self.settings.host
            try:
                socket.create_server((host, port)).close()
            except OSError as exc:
                variable = "SMTP" if "SMTP" in name else name.upper()
                raise NotStarted(
                    f"Port {port} for {name} cannot be had ({exc.strerror}); set KIZASHI_LOCAL_PORT to the first of "
                    f"five free ports, or KIZASHI_LOCAL_{variable}_PORT."
                ) from exc

    def _programs(self) -> list[Program]:
        python = sys.executable
        programs = [Program(name, (python, "-m", f"services.{name}")) for name in PROCESSES if name != "inbox"]
        listening = ("--port", str(self.ports["inbox"]), "--smtp-port", str(self.smtp_port))
        keeping = ("--journal", str(self.home.inbox_file))
        programs.append(Program("inbox", (python, "-m", "deploy.local.inbox", *listening, *keeping)))
        if self.settings.demo:
            neighbours = ("--ingest", self.urls["ingest"], "--health", self.urls["health"])
            product = (python, "-m", "deploy.local.demo.product", "--home", str(self.home.path), *neighbours)
            programs.append(Program("product", product))
        return programs

    def _environment(self) -> dict[str, str]:
        own_kafka = self._kafka.url if self._kafka is not None else None
        database_url = self._database_url(database.LOGIN)
        return environment(self.settings, self.home, database_url, own_kafka, self.ports, self.smtp_port)

    def _own_settings(self) -> dict[str, str]:
        """Those of the services' that are ours and not the operator's, whose secrets stay in the environment."""
        return {
            name: value
            for name, value in self._environment().items()
            if name.startswith("KIZASHI_") and os.environ.get(name) != value
        }

    @property
    def log_url(self) -> str:
        """Of the event log."""
        if self._kafka is not None:
            return self._kafka.url
        given = self.settings.log_url
        return self._database_url(database.LOGIN) if given is None else given.get_secret_value()

    def _database_url(self, user: str) -> str:
        assert self._postgres is not None
        return self._postgres.url(user, database.NAME)

    async def _until_ready(self) -> None:
        deadline = monotonic() + READY_SECONDS
        async with httpx.AsyncClient(timeout=3) as http:
            while True:
                await self._look_after_processes()
                missing = [name for name in PROCESSES if not await _is_ready(http, self.urls[name])]
                if not missing:
                    return
                if monotonic() > deadline:
                    raise NotStarted(
                        f"{missing[0]} is not ready after {READY_SECONDS:.0f} s; "
                        f"{self.home.logs / missing[0]}.log says why."
                    )
                await asyncio.sleep(0.1)

    # --- running ---

    @property
    def told_for_real(self) -> bool:
        """Whether messages would leave this machine."""
        return brings_real_slack() or brings_real_mail()

    async def stop_product(self) -> None:
        assert self._supervisor is not None
        await self._supervisor.stop_program("product")

    async def watch(self) -> NoReturn:
        """Keep PostgreSQL and Kafka up and run.json true, until cancelled. Raises NotStarted when something cannot
        run."""
        while True:
            await self._look_after_processes()
            assert self._postgres is not None
            if not leftovers.runs(self._postgres.pid):
                self._postgres = start(self.home.postgres)
                self._write_run_file()
            if self._kafka is not None and not leftovers.runs(self._kafka.pid):
                self._restart(self._kafka)
            await asyncio.sleep(WATCH_SECONDS)

    def _restart(self, killed: EmbeddedKafka) -> None:
        """Not waiting for it: that takes seconds, in which the services try again by themselves."""
        self._refuse_flapping("kafka", killed.log)
        killed.kill()
        self._kafka = kafka.launch(killed.folder, port=killed.ports.plain, jars=self.settings.local_kafka_jars)
        self._write_run_file()

    async def _look_after_processes(self) -> None:
        assert self._supervisor is not None
        assert self._postgres is not None
        if not self.home.path.is_dir():
            raise NotStarted(f"The folder {self.home.path} is gone, so nothing can go on.")
        if self._supervisor.ended:
            raise NotStarted(f"supervisord ended; {self.home.logs / 'supervisord.log'} says why.")
        processes = await self._supervisor.processes() or []
        for process in processes:
            if process.exit_status == 2:
                sentence = said_last(self.home.logs / f"{process.name}.log")
                raise NotStarted(sentence or f"{process.name} cannot run; {self.home.logs} says why.")
        pids = {process.name: process.pid for process in processes if process.pid is not None}
        if pids != self._pids:
            for name, pid in pids.items():
                if pid != self._pids.get(name):
                    self._refuse_flapping(name, self.home.logs / f"{name}.log")
            self._pids = pids
            leftovers.remember(self.home, {**pids, leftovers.FIRST: self._supervisor.pid})
            self._write_run_file()

    def _refuse_flapping(self, name: str, log: Path) -> None:
        """To be called at each start of ``name``."""
        most, seconds = FLAPPING
        starts = self._starts.setdefault(name, deque(maxlen=most))
        starts.append(monotonic())
        if len(starts) == most and starts[-1] - starts[0] < seconds:
            raise NotStarted(f"{name} ends again and again; {log} says why.")

    def _write_run_file(self) -> None:
        assert self._postgres is not None
        brokers = {"kafka": self._kafka.pid} if self._kafka is not None else {}
        write_private(
            self.home.run_file,
            {
                "urls": self.urls,
                "write_key": self.keys["write_key"],
                "api_key": self.keys["api_key"],
                "pids": {**self._pids, **brokers, "postgres": self._postgres.pid},
                "database": self._database_url(database.LOGIN),
                "owner_database": self._database_url(database.OWNER),
                "log": self.log_url,
                "settings": self._own_settings(),
                "smtp_port": self.smtp_port,
            },
        )

    # --- down ---

    async def stop(self) -> None:
        """Within ten seconds, whatever hangs."""
        deadline = monotonic() + STOP_SECONDS
        if self._supervisor is not None:
            if self._supervisor.ended:  # by itself, and what it had started goes on without it
                await asyncio.to_thread(leftovers.end_leftovers, self.home)
            elif not await self._supervisor.stop(SERVICES_STOP_SECONDS):
                self._supervisor.kill()
        await asyncio.gather(
            *(
                asyncio.to_thread(server.stop, max(2.0, deadline - monotonic()))
                for server in (self._kafka, self._postgres)
                if server is not None
            )
        )
        self.home.run_file.unlink(missing_ok=True)
        self.home.processes_file.unlink(missing_ok=True)


@asynccontextmanager
async def installed(settings: LocalSettings, home: Home, terminal: Terminal) -> AsyncIterator[Installation]:
    """A running installation for the length of the block; everything is stopped when it ends, also half started."""
    home.make()
    with home.front.held():
        installation = Installation(settings, home, terminal)
        try:
            await installation.start()
            yield installation
        finally:
            await installation.stop()


async def _is_ready(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(f"{url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False
