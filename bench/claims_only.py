"""A service that takes telemetry and does nothing with it but to claim it: what the loop costs without its handlers."""

from __future__ import annotations

import asyncio
from functools import partial

import asyncpg
from pydantic import Field

from libs.common.consumer import Consumer, handles
from libs.common.db import AsyncConnection, Database, asyncpg_url
from libs.common.ddl import consumer_tables_v1, consumer_tables_v2, consumer_tables_v3, roles_v1
from libs.common.event_log_open import event_log
from libs.common.events import Event, TelemetryReceived
from libs.common.migrate import LOGIN
from libs.common.observability import configure_logging
from libs.common.runtime import Service, run
from libs.common.settings import CommonSettings, load
from libs.common.topics import Topic
from libs.common.web import Probes, make_app
from services.health.app import BATCH_SIZE

SCHEMA = "claims"


class ClaimsSettings(CommonSettings):
    claims_port: int = Field(ge=1, le=65535, description="of its probes")


async def make_schema(owner_url: str) -> None:
    """The tables that any consumer of ours has, and its roles."""
    connection = await asyncpg.connect(asyncpg_url(owner_url))
    try:
        for statement in [
            f"CREATE SCHEMA {SCHEMA}",
            f"CREATE TABLE {SCHEMA}.schema_version (version_num text)",
            *roles_v1(SCHEMA),
            *consumer_tables_v1(SCHEMA),
            *consumer_tables_v2(SCHEMA),
            *consumer_tables_v3(SCHEMA),
            f"GRANT kizashi_{SCHEMA}_worker TO {LOGIN} WITH INHERIT FALSE",
        ]:
            await connection.execute(statement)
    finally:
        await connection.close()


async def on_telemetry_received(connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
    return []


def compose() -> Service:
    settings = load(ClaimsSettings, SCHEMA)
    configure_logging(SCHEMA, settings.logging_level)
    database = Database(settings.database_url.get_secret_value(), role=f"kizashi_{SCHEMA}_worker", schema=SCHEMA)
    log = event_log(
        settings.event_log_url,
        name=SCHEMA,
        retention_days=settings.log_retention_days,
        kafka=settings.kafka_access,
    )
    consumer = Consumer(
        group=SCHEMA,
        log=log,
        database=database,
        topics=[Topic.TELEMETRY, Topic.TELEMETRY_IMPORT],
        handlings=[handles(TelemetryReceived, on_telemetry_received)],
        timekeeping=True,
        batch_size=BATCH_SIZE,
    )
    probes = Probes(live=[consumer.live], ready=[consumer.ready])
    stopping = asyncio.Event()
    return Service(
        name=SCHEMA,
        app=make_app("Claims only", "Takes telemetry, and does nothing with it.", probes),
        probes=probes,
        host=settings.host,
        port=settings.claims_port,
        open=[log.open],
        tasks=[partial(consumer.run, stopping)],
        close=[log.close, database.close],
        stopping=stopping,
    )


if __name__ == "__main__":
    run(compose)
