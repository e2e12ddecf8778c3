"""Writes what came lately to PostgreSQL about once a second, and gives up quietly when that does not answer."""

from __future__ import annotations

import asyncio
from time import monotonic

from libs.common.db import Database
from libs.common.errors import RetryLater
from libs.common.observability import REGISTRY, Counter, get_logger
from libs.common.runtime import pause
from services.ingest.recent import Place, Recent, Rows
from services.ingest.store import recent as store

logger = get_logger(__name__)

EVERY_SECONDS = 1.0
ROWS_AT_ONCE = 500
"""About as many are written at a time, so that no number of busy sources costs PostgreSQL more than that a second."""
WRITE_SECONDS = 2.0
FORGET_EVERY_SECONDS = 3600.0

_failures = Counter(
    "kizashi_ingest_recent_failures_total", "Times that recent events could not be written down", registry=REGISTRY
)


class RecentWriter:
    """A background task that never ends by itself: what it writes is not worth a process."""

    def __init__(self, recent: Recent, database: Database) -> None:
        self._recent = recent
        self._database = database
        self._fails = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Writes once more after the stop; what is answered even later is not shown."""
        forget_at = monotonic()
        while not stopping.is_set():
            await pause(stopping, EVERY_SECONDS)
            await self._write()
            if monotonic() >= forget_at:
                forget_at = monotonic() + FORGET_EVERY_SECONDS
                await self._forget()

    async def _write(self) -> None:
        rows: dict[Place, Rows] = {}
        try:
            rows = self._recent.take(ROWS_AT_ONCE)
            if not rows:
                return
            async with asyncio.timeout(WRITE_SECONDS):
                async with self._database.transaction({workspace for workspace, _ in rows}) as connection:
                    await store.write(
                        connection,
                        [event for ours in rows.values() for event in ours.events],
                        [reject for ours in rows.values() for reject in ours.rejects],
                    )
        except (RetryLater, TimeoutError) as exc:
            self._recent.put_back(rows)
            self._note_failure(exc)
        except Exception as exc:  # it would be refused again, so it is given up
            self._note_failure(exc)
        else:
            self._fails = False

    async def _forget(self) -> None:
        try:
            async with asyncio.timeout(WRITE_SECONDS):
                async with self._database.transaction() as connection:
                    workspaces = await store.workspaces(connection)
                async with self._database.transaction(workspaces) as connection:
                    await store.forget(connection)
        except Exception as exc:  # an hour later
            self._note_failure(exc)

    def _note_failure(self, exc: Exception) -> None:
        _failures.inc()
        if not self._fails:  # said once, not every second
            logger.warning("recent_events_not_written", detail=str(exc) or type(exc).__name__)
        self._fails = True
