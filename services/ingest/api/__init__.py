"""The administration over HTTP; the paths that take events are in paths.py."""

from __future__ import annotations

from fastapi import APIRouter

from libs.common.clock import Clock
from libs.common.db import Database
from libs.common.event_log import EventLog
from services.ingest.api import api_keys, recent, sources, write_keys


def routes(database: Database, log: EventLog, clock: Clock) -> APIRouter:
    # Each has its whole path by itself: answers are counted by what a router calls its own, without what is put before.
    router = APIRouter()
    router.include_router(sources.routes(database, log, clock))
    router.include_router(recent.routes(database))
    router.include_router(write_keys.routes(database))
    router.include_router(api_keys.routes(database))
    return router
