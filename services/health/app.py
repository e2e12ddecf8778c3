"""The composition root of health."""

from __future__ import annotations

import asyncio
from functools import partial

from libs.common import dead_letters, failpoints, log_api
from libs.common.consumer import Consumer, handles
from libs.common.db import Database
from libs.common.event_log_open import event_log
from libs.common.events import SourceWentLive, TelemetryReceived
from libs.common.expected_schema import expect_schema
from libs.common.observability import configure_logging
from libs.common.outbox import Relay
from libs.common.runtime import Service
from libs.common.settings import load
from libs.common.topics import Topic
from libs.common.web import Probes, database_answers, make_app
from services.health.api import routes
from services.health.configuration import rulebook
from services.health.handlers import Handlers
from services.health.router import Router
from services.health.score_worker import ScoreWorker
from services.health.settings import HealthSettings

BATCH_SIZE = 2000
"""Events in one transaction at most. What a statement costs by itself, and what a batch writes to the same pages, is
shared by so many: of a batch of 500 each event costs half as much again."""


def compose() -> Service:
    settings = load(HealthSettings, "health")
    configure_logging("health", settings.logging_level)
    failpoints.arm(settings.failpoints, settings.environment)
    clock, rules = settings.clock(), rulebook(settings.config_dir, settings.health_model)
    url = settings.database_url.get_secret_value()
    worker_db = Database(url, role="kizashi_health_worker", schema="health", pool_size=8)
    api_db = Database(url, role="kizashi_health_api", schema="health")
    log = event_log(
        settings.event_log_url,
        name="health",
        retention_days=settings.log_retention_days,
        kafka=settings.kafka_access,
    )
    handlers = Handlers(rules.model)
    consumer = Consumer(
        group="health",
        log=log,
        database=worker_db,
        topics=[Topic.TELEMETRY, Topic.TELEMETRY_IMPORT],
        handlings=[
            handles(TelemetryReceived, handlers.on_telemetry_received),
            handles(SourceWentLive, handlers.on_source_went_live),
        ],
        clock=clock,
        timekeeping=True,
        batch_size=BATCH_SIZE,
        background=Topic.TELEMETRY_IMPORT,
    )
    relay = Relay("health", worker_db, log, lock_url=url)
    router, score_worker = Router(worker_db), ScoreWorker(worker_db, clock, rules)
    probes = Probes(
        live=[consumer.live, router.live, score_worker.live],
        ready=[consumer.ready, relay.ready, database_answers(worker_db)],
    )
    app = make_app("Kizashi health", "How accounts are doing, and why.", probes)
    app.include_router(routes(api_db, clock))
    app.include_router(dead_letters.routes(api_db, group="health"))
    app.include_router(log_api.routes(api_db, log, consumer.group, consumer.topics))
    stopping = asyncio.Event()
    return Service(
        name="health",
        app=app,
        probes=probes,
        host=settings.host,
        port=settings.health_port,
        open=[partial(expect_schema, worker_db, "health"), log.open],
        tasks=[
            partial(consumer.run, stopping),
            partial(router.run, stopping),
            partial(score_worker.run, stopping),
            partial(relay.run, stopping),
        ],
        close=[log.close, worker_db.close, api_db.close],
        stopping=stopping,
    )
