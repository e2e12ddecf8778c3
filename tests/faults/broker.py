"""A Kafka broker of the town's own, on a port that it keeps: what it acknowledged survives ``kill``."""

from __future__ import annotations

import asyncio
from pathlib import Path

from deploy.local import kafka
from deploy.local.kafka_jars import DEFAULT_FOLDER


class Kafka:
    """A Dependency. ``folder`` holds its data, ``jars`` what it is started from."""

    def __init__(self, folder: Path, jars: Path = DEFAULT_FOLDER) -> None:
        self._folder = folder
        self._jars = jars
        self._running: kafka.EmbeddedKafka | None = None

    @property
    def running(self) -> kafka.EmbeddedKafka:
        assert self._running is not None
        return self._running

    @property
    def pid(self) -> int:
        return self.running.pid

    @property
    def url(self) -> str:
        return self.running.url

    async def start(self) -> None:
        self._running = await asyncio.to_thread(kafka.start, self._folder, jars=self._jars)

    async def stop(self) -> None:
        if self._running is not None:
            await asyncio.to_thread(self._running.stop)

    async def kill(self) -> None:
        await asyncio.to_thread(self.running.kill)
