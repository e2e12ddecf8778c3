"""make move: takes an installation from one event log to another, while nothing of it runs but what holds its data."""

from __future__ import annotations

import asyncio
from pathlib import Path

from deploy.local import database, kafka, leftovers
from deploy.local.home import Home
from deploy.local.kafka import EmbeddedKafka
from deploy.local.log import make_topics, reads_from_postgres
from deploy.local.postgres import EmbeddedPostgres, start
from deploy.local.settings import LocalSettings
from deploy.local.terminal import Terminal
from libs.common.errors import NotStarted
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.log_move.move import LogMove
from libs.common.log_move.open import destination, origin


async def move(settings: LocalSettings) -> int:
    """To the log that LOG or KIZASHI_LOG_URL names, from the one that the home has. Killed anywhere it may be repeated.

    Raises NotStarted with one sentence.
    """
    home, terminal = Home(settings.home.expanduser().absolute()), Terminal()
    if not home.keys_file.exists():
        raise NotStarted(f"There is no installation in {home.path} that could be moved; `make run` begins one.")
    if settings.log is None and settings.log_url is None:
        raise NotStarted("Where to? Say LOG=kafka, LOG=postgres, or KIZASHI_LOG_URL=kafka://host:port.")
    with home.front.held():
        await asyncio.to_thread(leftovers.end_leftovers, home)
        postgres = start(home.postgres)
        broker: EmbeddedKafka | None = None
        try:
            await database.prepare(postgres)
            if settings.brings_a_broker or home.kafka.exists():
                broker = kafka.start(home.kafka, port=settings.local_kafka_port or 0, jars=settings.local_kafka_jars)
                await make_topics(broker.url, settings.log_retention_days)
            await _move(settings, home.path, postgres, broker, terminal)
        finally:
            for server in (broker, postgres):
                if server is not None:
                    server.stop()
    return 0


async def _move(
    settings: LocalSettings, home: Path, postgres: EmbeddedPostgres, broker: EmbeddedKafka | None, terminal: Terminal
) -> None:
    owner_url = postgres.url(database.OWNER, database.NAME)
    if await reads_from_postgres(owner_url):
        old = owner_url
    elif broker is not None:
        old = broker.url
    else:
        raise NotStarted(f"{home} is on a Kafka that is not its own, and `make move` moves only what it can start.")
    new, access = _destination(settings, owner_url, broker)
    if new == old:
        raise NotStarted(f"{home} is on that event log already.")
    work = LogMove(owner_url, origin(old, owner_url, KafkaAccess()), tell=lambda said: terminal.line(f"  {said}"))
    await work.run(destination(new, owner_url, access))
    how = "LOG=kafka make run" if broker is not None and new == broker.url else "make run"
    terminal.line(f"  Here that is: {how if settings.log_url is None else f'KIZASHI_LOG_URL={new} make run'}")


def _destination(settings: LocalSettings, owner_url: str, broker: EmbeddedKafka | None) -> tuple[str, KafkaAccess]:
    if settings.log_url is not None:
        return settings.log_url.get_secret_value(), settings.kafka_access
    if settings.log == "kafka":
        assert broker is not None
        return broker.url, KafkaAccess()
    return owner_url, KafkaAccess()
