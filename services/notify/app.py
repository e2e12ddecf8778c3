"""The composition root of notify: settings -> transports -> routes, handlers and one sender per channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial

from libs.common import dead_letters, failpoints, log_api
from libs.common.consumer import Consumer, handles
from libs.common.db import Database
from libs.common.event_log_open import event_log
from libs.common.events import Channel, TouchCancelled, TouchRequested
from libs.common.expected_schema import expect_schema
from libs.common.observability import configure_logging
from libs.common.outbox import Relay
from libs.common.runtime import Service
from libs.common.settings import load
from libs.common.topics import Topic
from libs.common.web import Probes, database_answers, make_app
from services.notify import api
from services.notify.handlers import TouchHandlers
from services.notify.sender import Sender, Timing
from services.notify.settings import NotifySettings
from services.notify.templates import Templates
from services.notify.transport import Transport
from services.notify.transports import transports_for

NAME = "notify"


def compose(
    carriers: Callable[[NotifySettings, Templates], Mapping[Channel, Transport]] = transports_for,
) -> Service:
    """Everything wired, nothing started. Raises NotStarted for a setting or a template with a mistake."""
    settings = load(NotifySettings, NAME)
    configure_logging(NAME, settings.logging_level)
    failpoints.arm(settings.failpoints, settings.environment)
    clock = settings.clock()
    url = settings.database_url.get_secret_value()
    worker_db = Database(url, role="kizashi_notify_worker", schema=NAME, pool_size=12)
    api_db = Database(url, role="kizashi_notify_api", schema=NAME)
    log = event_log(
        settings.event_log_url,
        name=NAME,
        retention_days=settings.log_retention_days,
        kafka=settings.kafka_access,
    )
    templates = Templates(settings.config_dir, settings.notify_language)
    transports = carriers(settings, templates)
    handlers = TouchHandlers(transports)
    consumer = Consumer(
        group=NAME,
        log=log,
        database=worker_db,
        topics=[Topic.TOUCHES],
        handlings=[
            handles(TouchRequested, handlers.on_touch_requesteds),
            handles(TouchCancelled, handlers.on_touch_cancelleds),
        ],
    )
    relay = Relay(NAME, worker_db, log, lock_url=url)
    timing = Timing(
        lease=timedelta(seconds=settings.notify_lease_seconds),
        grace=settings.grace,
        margin=timedelta(seconds=settings.notify_settle_margin_seconds),
    )
    senders = [
        Sender(channel=channel, transport=transport, database=worker_db, clock=clock, timing=timing)
        for channel, transport in transports.items()
    ]
    probes = Probes(
        live=[consumer.live, *(sender.live for sender in senders)],
        ready=[consumer.ready, relay.ready, database_answers(worker_db)],
    )
    app = make_app("Kizashi notify", "Tells people, once, and keeps the ledger of what was told.", probes)
    app.include_router(api.routes(api_db, templates))
    app.include_router(dead_letters.routes(api_db, group=NAME))
    app.include_router(log_api.routes(api_db, log, consumer.group, consumer.topics))
    stopping = asyncio.Event()
    return Service(
        name=NAME,
        app=app,
        probes=probes,
        host=settings.host,
        port=settings.notify_port,
        open=[
            partial(expect_schema, worker_db, NAME),
            log.open,
            *(transport.open for transport in transports.values()),
        ],
        tasks=[
            partial(consumer.run, stopping),
            partial(relay.run, stopping),
            *(partial(sender.run, stopping) for sender in senders),
        ],
        close=[*(transport.close for transport in transports.values()), log.close, worker_db.close, api_db.close],
        stopping=stopping,
    )
