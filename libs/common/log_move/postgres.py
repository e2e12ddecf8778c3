"""A log on PostgreSQL as a move sees it, and the sessions of whoever is still at work in a database."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping, Sequence

import asyncpg
import msgspec
from sqlalchemy.engine import make_url

from libs.common.db import asyncpg_url
from libs.common.errors import NotStarted
from libs.common.event_log import ReadRecord, TopicPartition
from libs.common.log_move.logs import BATCH_BYTES, BATCH_RECORDS, NAME, RUN_AGAIN
from libs.common.topics import Topic

COMMAND_SECONDS = 60.0

_headers_decoder = msgspec.msgpack.Decoder(dict[str, bytes])

# What a process of a service is seen by: its pools (named by their roles), its outbox lock, its sessions of the log.
_RUNNING = r"""
    SELECT application_name || ' (session ' || pid || coalesce(' from ' || host(client_addr), '') || ')'
    FROM pg_stat_activity WHERE datname = current_database() AND application_name NOT LIKE $1 || '%'
    AND (application_name ~ ' log (reader|writer|owner)$' OR application_name ~ '^kizashi_[a-z]+_(api|worker|outbox)$')
    ORDER BY application_name, pid"""
# The inner limit bounds the work, the outer condition the bytes; the first record always passes.
_READ = """
    SELECT position, key, value, headers FROM (
        SELECT *, sum(octet_length(value)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING)
            - octet_length(value) AS before
        FROM (SELECT position, key, value, headers FROM log.record
              WHERE number = $1 AND position >= $2 AND position < $3 ORDER BY position LIMIT $4) AS first
    ) AS sized WHERE before < $5"""


def place_of(url: str) -> str:
    """The address without its login."""
    return make_url(url)._replace(username=None, password=None).render_as_string() if "@" in url else url


@contextlib.contextmanager
def told_to_operators(what: str) -> Iterator[None]:
    """PostgreSQL's refusals and silences as NotStarted."""
    try:
        yield
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as exc:
        raise NotStarted(f"{what}: {exc or 'no answer'}. {RUN_AGAIN}") from exc


async def connect(url: str, purpose: str, role: str | None = None) -> asyncpg.Connection:
    """A session of the move. Raises NotStarted."""
    settings = {
        "application_name": f"{NAME}, {purpose}",
        "search_path": "pg_catalog, pg_temp",
        "timezone": "UTC",
        "jit": "off",
        "lock_timeout": "10s",
        # Plans must not depend on how full a day's table was when they were made.
        "plan_cache_mode": "force_generic_plan",
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
    }
    if role:
        settings["role"] = role
    with told_to_operators(f"The database of the {purpose} does not answer"):
        return await asyncpg.connect(
            asyncpg_url(url), timeout=10, command_timeout=COMMAND_SECONDS, server_settings=settings
        )


async def running(connection: asyncpg.Connection) -> Sequence[str]:
    """The sessions of Kizashi's processes in this database, frozen ones too."""
    return [row[0] for row in await connection.fetch(_RUNNING, NAME)]


class PostgresLog:
    """``role`` is for a login that may only read; to seal and unseal one has to own the log."""

    def __init__(self, url: str, role: str | None = None) -> None:
        self._url = url
        self._role = role
        self._connection: asyncpg.Connection | None = None
        self._turn = asyncio.Lock()
        self._identity = ""
        self._numbers: Mapping[TopicPartition, int] = {}

    @property
    def place(self) -> str:
        return place_of(self._url)

    async def open(self) -> None:
        self._connection = await connect(self._url, f"log at {self.place}", self._role)
        with told_to_operators(
            f"{self.place} is no event log of this release that this login may move; run the migrations (python -m "
            "libs.common.migrate), or name it as its owner"
        ):
            await self._connection.fetch("SELECT moved_to FROM log.identity")
            self._identity = str(await self._connection.fetchval("SELECT id FROM log.identity"))
            rows = await self._connection.fetch(
                "SELECT number, topic, partition FROM log.topic_partition WHERE topic = ANY ($1)", list(Topic)
            )
        self._numbers = {TopicPartition(Topic(row["topic"]), row["partition"]): row["number"] for row in rows}

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close(timeout=2)

    async def identity(self, topic: Topic) -> str:
        return self._identity

    async def starts(self) -> Mapping[TopicPartition, int]:
        return await self._borders("earliest")

    async def ends(self) -> Mapping[TopicPartition, int]:
        return await self._borders("next")

    async def read(self, source: TopicPartition, start: int, end: int) -> Sequence[ReadRecord]:
        rows = await self._fetch(_READ, self._numbers[source], start, end, BATCH_RECORDS, BATCH_BYTES)
        return [
            ReadRecord(key, value, {} if headers is None else _headers_decoder.decode(headers), position)
            for position, key, value, headers in rows
        ]

    async def running(self) -> Sequence[str]:
        return await running(self._open)

    # --- the seal ---

    async def moved_to(self) -> str | None:
        ((place,),) = await self._fetch("SELECT moved_to FROM log.identity")
        return None if place is None else str(place)

    async def seal(self, place: str) -> None:
        with told_to_operators(f"The log at {self.place} could not be sealed"):
            async with self._open.transaction():
                # In the order in which appends lock them; see log.append.
                await self._open.execute("SELECT FROM log.topic_partition p ORDER BY p.number FOR NO KEY UPDATE")
                await self._open.execute("UPDATE log.identity SET moved_to = $1", place)

    async def unseal(self) -> None:
        await self._fetch("UPDATE log.identity SET moved_to = NULL")

    async def _borders(self, column: str) -> Mapping[TopicPartition, int]:
        rows = await self._fetch(
            f"SELECT topic, partition, {column} FROM log.topic_partition WHERE topic = ANY ($1)", list(Topic)
        )
        return {TopicPartition(Topic(topic), partition): position for topic, partition, position in rows}

    async def _fetch(self, statement: str, *arguments: object) -> Sequence[asyncpg.Record]:
        with told_to_operators(f"The log at {self.place} stopped answering"):
            async with self._turn:
                rows: Sequence[asyncpg.Record] = await self._open.fetch(statement, *arguments)
        return rows

    @property
    def _open(self) -> asyncpg.Connection:
        assert self._connection is not None, "open() comes first"
        return self._connection
