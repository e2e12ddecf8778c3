"""A broker of its own for tests that torment one and leave it running, with topics to write to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.kafka import EmbeddedKafka, start
from tests.kafka_topics import make_topics


class FragileKafka:
    """Durable: what it has acknowledged is there after ``kill``."""

    def __init__(self, folder: Path, jars: Path) -> None:
        self._jars = jars
        self.server: EmbeddedKafka = start(folder, jars=jars)
        self.topic_prefix = asyncio.run(make_topics(self.server.url))

    @property
    def url(self) -> str:
        return self.server.url

    @contextmanager
    def frozen(self) -> Iterator[None]:
        self.server.freeze()
        try:
            yield
        finally:
            self.server.thaw()

    def stop(self) -> None:
        self.server.stop()

    def kill(self) -> None:
        self.server.kill()

    def start(self) -> None:
        """Again, on the port that it had."""
        self.server = start(self.server.folder, jars=self._jars)
