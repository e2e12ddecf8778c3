"""The composition root of playbook: settings -> adapters -> routes, handlers and the step worker."""

from __future__ import annotations

import asyncio
from functools import partial

from libs.common import dead_letters, failpoints, log_api
from libs.common.consumer import Consumer
from libs.common.db import Database
from libs.common.event_log_open import event_log
from libs.common.expected_schema import expect_schema
from libs.common.observability import configure_logging
from libs.common.outbox import Relay
from libs.common.runtime import Service
from libs.common.settings import load
from libs.common.topics import Topic
from libs.common.web import Probes, database_answers, make_app
from services.playbook import api
from services.playbook.definitions import load_catalogue
from services.playbook.handlers import Handlers, handlings
from services.playbook.settings import PlaybookSettings
from services.playbook.step_worker import StepWorker
from services.playbook.versions import remember_versions

NAME = "playbook"


def compose() -> Service:
    """Everything wired, nothing started. Raises NotStarted for a setting or a configuration file with a mistake."""
    settings = load(PlaybookSettings, NAME)
    configure_logging(NAME, settings.logging_level)
    failpoints.arm(settings.failpoints, settings.environment)
    clock = settings.clock()
    catalogue = load_catalogue(settings.config_dir)
    url = settings.database_url.get_secret_value()
    worker_db = Database(url, role="kizashi_playbook_worker", schema=NAME)
    api_db = Database(url, role="kizashi_playbook_api", schema=NAME)
    log = event_log(
        settings.event_log_url,
        name=NAME,
        retention_days=settings.log_retention_days,
        kafka=settings.kafka_access,
    )
    consumer = Consumer(
        group=NAME,
        log=log,
        database=worker_db,
        topics=[Topic.HEALTH, Topic.DELIVERIES],
        handlings=handlings(Handlers(catalogue, clock)),
    )
    relay = Relay(NAME, worker_db, log, lock_url=url)
    steps = StepWorker(worker_db, catalogue.tiers, clock)
    probes = Probes(live=[consumer.live, steps.live], ready=[consumer.ready, relay.ready, database_answers(worker_db)])
    app = make_app("Kizashi playbook", "Who is told what, when, and why.", probes)
    app.include_router(api.routes(api_db, catalogue))
    app.include_router(dead_letters.routes(api_db, group=NAME))
    app.include_router(log_api.routes(api_db, log, consumer.group, consumer.topics))
    stopping = asyncio.Event()
    return Service(
        name=NAME,
        app=app,
        probes=probes,
        host=settings.host,
        port=settings.playbook_port,
        open=[
            partial(expect_schema, worker_db, NAME),
            log.open,
            partial(remember_versions, worker_db, settings.config_dir, catalogue),
        ],
        tasks=[partial(consumer.run, stopping), partial(relay.run, stopping), partial(steps.run, stopping)],
        close=[log.close, worker_db.close, api_db.close],
        stopping=stopping,
    )
