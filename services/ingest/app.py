"""What ingest is made of."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from libs.common import failpoints
from libs.common.db import Database
from libs.common.event_log import EventLog
from libs.common.event_log_open import event_log
from libs.common.expected_schema import expect_schema
from libs.common.observability import configure_logging
from libs.common.runtime import Service
from libs.common.settings import load
from libs.common.web import Probes, error_response, make_app
from services.ingest import api, sdk_settings
from services.ingest.admission import Admission
from services.ingest.collector import Collector
from services.ingest.cors import Cors, cors_headers
from services.ingest.hot_paths import HotPaths, hot_paths
from services.ingest.openapi import document_hot_paths
from services.ingest.paths import ALL_PATHS
from services.ingest.pressure import GaveWay, InFlight, NotNow, Refusals
from services.ingest.publisher import Publisher
from services.ingest.quotas import Quotas
from services.ingest.recent import Recent
from services.ingest.recent_writer import RecentWriter
from services.ingest.settings import IngestSettings
from services.ingest.store.write_keys import owner_of_key
from services.ingest.write_keys import KeyOwner, WriteKeys


def log_of(settings: IngestSettings) -> EventLog:
    """The event log that the settings name, not yet open."""
    return event_log(
        settings.event_log_url,
        name="kizashi ingest",
        retention_days=settings.log_retention_days,
        kafka=settings.kafka_access,
        append_seconds=settings.ingest_append_deadline_seconds,
    )


def compose(choose_log: Callable[[IngestSettings], EventLog] = log_of) -> Service:
    """Settings -> adapters -> routes and tasks. Raises NotStarted."""
    settings = load(IngestSettings, "ingest")
    configure_logging("ingest", settings.logging_level)
    failpoints.arm(settings.failpoints, settings.environment)
    clock = settings.clock()
    url = settings.database_url.get_secret_value()
    api_database = Database(url, role="kizashi_ingest_api", schema="ingest")
    key_database = Database(url, role="kizashi_ingest_worker", schema="ingest", pool_size=2)
    recent_database = Database(url, role="kizashi_ingest_worker", schema="ingest", pool_size=1)
    log = choose_log(settings)
    publisher = Publisher(log, settings.ingest_append_deadline_seconds, settings.ingest_log_silent_seconds)
    probes = Probes(ready=[publisher.ready])
    recent = Recent(clock)
    keys = WriteKeys(partial(_owner_of_key, key_database), settings.ingest_key_cache_seconds)
    refusals = Refusals()
    in_flight = InFlight(settings.ingest_in_flight_limit_bytes)
    collector = Collector(
        keys=keys,
        admission=Admission(
            Quotas(settings.ingest_key_events_per_s, settings.ingest_key_import_events_per_s, in_flight.is_tight),
        ),
        publisher=publisher,
        in_flight=in_flight,
        refusals=refusals,
        recent=recent,
        clock=clock,
        probes=probes,
        limits=settings.limits(),
        names=settings.account_names(),
        batch_limit_bytes=settings.ingest_body_limit_bytes,
        single_limit_bytes=settings.ingest_single_body_limit_bytes,
        read_seconds=settings.ingest_read_deadline_seconds,
    )
    app = make_app("Kizashi ingest", "Takes what products send.", probes, paths_with_own_limit=ALL_PATHS)
    hot = hot_paths(collector.answer, app.exception_handlers)
    app.router.routes[:0] = [path.as_route() for path in hot]
    app.include_router(sdk_settings.routes(keys, refusals))
    app.include_router(api.routes(api_database, log, clock))
    document_hot_paths(app)
    _answer_not_now(app)
    app.add_middleware(Cors)
    stopping = asyncio.Event()
    return Service(
        name="ingest",
        app=HotPaths(hot, app),
        probes=probes,
        host=settings.host,
        port=settings.ingest_port,
        open=[partial(expect_schema, api_database, "ingest"), log.open],
        tasks=[partial(publisher.watch, stopping), partial(RecentWriter(recent, recent_database).run, stopping)],
        close=[log.close, api_database.close, key_database.close, recent_database.close],
        stopping=stopping,
        patience_seconds=settings.ingest_read_deadline_seconds,
        refusal_headers=cors_headers,
    )


async def _owner_of_key(database: Database, secret_hash: bytes) -> KeyOwner | None:
    async with database.transaction() as connection:
        return await owner_of_key(connection, secret_hash)


def _answer_not_now(app: FastAPI) -> None:
    @app.exception_handler(NotNow)
    async def _not_now(_request: Request, exc: NotNow) -> JSONResponse:
        response = error_response(503, exc.code, str(exc), retry_after=exc.retry_after_seconds)
        if isinstance(exc, GaveWay):
            response.headers["Connection"] = "close"
        return response
