"""What the contract suite of the event log needs of an engine besides the port, and how each engine does it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import asyncpg
import psutil
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition as KafkaPartition

from deploy.local.kafka import EmbeddedKafka
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.postgres import start as start_postgres
from libs.common.event_log import EventLog, Record, TopicPartition
from libs.common.event_log_kafka.access import brokers_of
from libs.common.migrate import migrate
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.conftest import LOGIN, OWNER
from tests.contracts.log_address import LogAddress
from tests.fragile_kafka import FragileKafka


class Engine(Protocol):
    """A log of its own for one test."""

    address: LogAddress

    async def client(self) -> EventLog:
        """One more open client, closed when the test ends."""

    async def close(self) -> None: ...

    async def expire(self, source: TopicPartition) -> None:
        """Drop every record that the partition holds now, as retention does when their time has come."""

    async def append_around_hole(self, source: TopicPartition, before: Record, after: Record) -> None:
        """Append two records with at least one offset between them that no record has."""


class FragileEngine(Engine, Protocol):
    """One whose server the test may torment."""

    def freeze(self) -> None:
        """The server neither answers nor closes connections."""

    def thaw(self) -> None: ...

    def stop(self) -> None:
        """Cleanly; connections are refused from then on."""

    def start(self) -> None: ...


class _Clients:
    """The open clients of a log."""

    def __init__(self, address: LogAddress) -> None:
        self.address = address
        self._clients: list[EventLog] = []

    async def client(self) -> EventLog:
        log = self.address.log(f"test {len(self._clients)}")
        self._clients.append(log)
        await log.open()
        return log

    async def close(self) -> None:
        for log in self._clients:
            await log.close()


class PostgresEngine(_Clients):
    def __init__(self, url: str, owner_url: str) -> None:
        super().__init__(LogAddress(url))
        self._owner_url = owner_url

    async def expire(self, source: TopicPartition) -> None:
        """The records become those of a day long gone, which retention then drops as no group needs them."""
        owner = await asyncpg.connect(self._owner_url)
        try:
            async with owner.transaction():
                await owner.execute(
                    "CREATE TABLE log.record_20200101 PARTITION OF log.record "
                    "FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-01-02 00:00+00')"
                )
                await owner.execute(
                    "UPDATE log.record r SET appended_at = '2020-01-01 12:00+00' FROM log.topic_partition p "
                    "WHERE p.number = r.number AND p.topic = $1 AND p.partition = $2",
                    *source,
                )
            await owner.execute("DELETE FROM log.group_position")
            dropped = await owner.fetch("SELECT day, held_by FROM log.drop_old_days(1)")
            assert [row["held_by"] for row in dropped] == [None]
        finally:
            await owner.close()

    async def append_around_hole(self, source: TopicPartition, before: Record, after: Record) -> None:
        writer = await self.client()
        await writer.append(source.topic, [before, Record(b"hole", b"hole"), after], source.partition)
        owner = await asyncpg.connect(self._owner_url)
        await owner.execute("DELETE FROM log.record WHERE key = 'hole'")
        await owner.close()


class FragilePostgresEngine(PostgresEngine):
    """Its server is its own, durable, and may be stopped and frozen."""

    def __init__(self, server: EmbeddedPostgres, data: Path) -> None:
        super().__init__(server.url(LOGIN, "postgres"), server.url(OWNER, "postgres"))
        self._server = server
        self._data = data

    @classmethod
    async def make(cls, data: Path) -> FragilePostgresEngine:
        server = start_postgres(data)
        await migrate(server.url(OWNER, "postgres"), LOGIN)
        return cls(server, data)

    def freeze(self) -> None:
        for process in self._processes():
            process.suspend()

    def thaw(self) -> None:
        for process in self._processes():
            process.resume()

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server = start_postgres(self._data)

    def _processes(self) -> Sequence[psutil.Process]:
        """The postmaster first, so that it starts no others meanwhile."""
        postmaster = psutil.Process(self._server.pid)
        return [postmaster, *postmaster.children(recursive=True)]


class KafkaEngine(_Clients):
    """Topics that other tests have used before, emptied, because new ones take seconds. Nothing begins at 0 in them."""

    @classmethod
    async def make(cls, broker: EmbeddedKafka, topic_prefix: str, locks_url: str) -> KafkaEngine:
        engine = cls(LogAddress(broker.url, locks_url, topic_prefix))
        await engine.empty()
        return engine

    async def empty(self) -> None:
        log = await self.client()
        starts, ends = await log.starts(list(Topic)), await log.ends(list(Topic))
        await self.expire(*(source for source in starts if starts[source] < ends[source]))

    def name_of(self, topic: Topic) -> str:
        return self.address.kafka.name_of(topic)

    def on_kafka(self, source: TopicPartition) -> KafkaPartition:
        return KafkaPartition(self.name_of(source.topic), source.partition)

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        admin = AIOKafkaAdminClient(bootstrap_servers=brokers_of(self.address.url))
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    @asynccontextmanager
    async def transactional_producer(self) -> AsyncIterator[AIOKafkaProducer]:
        """Whose transactions end with markers, which take offsets and are no records."""
        producer = AIOKafkaProducer(
            bootstrap_servers=brokers_of(self.address.url), transactional_id=f"test {uuid.uuid4()}"
        )
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def append_in_transaction(
        self, source: TopicPartition, records: Sequence[Record], *, abort: bool = False
    ) -> None:
        """All of them and the marker, for which Kafka lets nobody wait, are in the log when this returns."""
        log = await self.client()
        end = (await log.ends([source.topic]))[source] + len(records) + 1
        async with self.transactional_producer() as producer:
            await producer.begin_transaction()
            for one in records:
                await producer.send_and_wait(
                    self.name_of(source.topic), one.value, one.key, source.partition, headers=list(one.headers.items())
                )
            if abort:
                await producer.abort_transaction()
            else:
                await producer.commit_transaction()

        async def marked() -> bool:
            return (await log.ends([source.topic]))[source] == end

        await eventually(marked)

    async def expire(self, *sources: TopicPartition) -> None:
        async with self.admin() as admin:
            await admin.delete_records({self.on_kafka(source): RecordsToDelete(-1) for source in sources})

    async def append_around_hole(self, source: TopicPartition, before: Record, after: Record) -> None:
        await self.append_in_transaction(source, [before])
        await (await self.client()).append(source.topic, [after], source.partition)


class FragileKafkaEngine(KafkaEngine):
    """Its broker may be stopped and frozen."""

    def __init__(self, address: LogAddress, broker: FragileKafka) -> None:
        super().__init__(address)
        self._broker = broker

    @classmethod
    async def make_fragile(cls, broker: FragileKafka, locks_url: str) -> FragileKafkaEngine:
        engine = cls(LogAddress(broker.url, locks_url, broker.topic_prefix), broker)
        await engine.empty()
        return engine

    def freeze(self) -> None:
        self._broker.server.freeze()

    def thaw(self) -> None:
        self._broker.server.thaw()

    def stop(self) -> None:
        self._broker.stop()

    def start(self) -> None:
        self._broker.start()
