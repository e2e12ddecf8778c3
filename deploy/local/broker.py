"""make kafka: a Kafka broker by itself in the foreground, for whoever connects to it, until Ctrl-C."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from deploy.local import leftovers
from deploy.local.home import Home
from deploy.local.kafka import EmbeddedKafka, start
from deploy.local.kafka_jars import are_there, fetch_jars, find_java
from deploy.local.settings import LocalSettings
from deploy.local.terminal import Terminal
from libs.common.errors import NotStarted

DEFAULT_PORT = 9092
LOOK_SECONDS = 0.5


def make_kafka_possible(settings: LocalSettings, terminal: Terminal) -> None:
    """Java is there, and so are the jars, fetched now if need be. Raises NotStarted. Ctrl-C simply ends us."""
    find_java()
    if not are_there(settings.local_kafka_jars):
        with terminal.step("Apache Kafka's jars, fetched once"):
            fetch_jars(settings.local_kafka_jars, lambda progress: terminal.progress(f"  … {progress}"))


async def serve(settings: LocalSettings) -> NoReturn:
    """Until cancelled. Raises NotStarted with one sentence when the broker cannot run."""
    terminal = Terminal()
    home = Home(settings.home.expanduser().absolute())
    home.make()
    with home.kafka_front.held():
        with terminal.step("Apache Kafka"):
            port = settings.local_kafka_port or DEFAULT_PORT
            broker = start(home.kafka_alone, port=port, jars=settings.local_kafka_jars)
        try:
            terminal.line(f"  ready: {terminal.colour('cyan', broker.url)}  (process {broker.pid}, log {broker.log})")
            terminal.line(
                f"  It has no topics yet: KIZASHI_LOG_URL={broker.url} .venv/bin/kizashi log create makes them."
            )
            terminal.line("  Ctrl-C stops it; its data are kept.")
            await _watch(broker)
        finally:
            terminal.line("\n  stopping …")
            broker.stop()


async def _watch(broker: EmbeddedKafka) -> NoReturn:
    while True:
        if not leftovers.runs(broker.pid):
            raise NotStarted(f"The broker has ended; {broker.log} says why, unless somebody killed it.")
        await asyncio.sleep(LOOK_SECONDS)
