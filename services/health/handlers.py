"""What health does with each type of event it reads: facts and requests are written, and nothing else.

No account is touched here: its users are spread over all partitions, so its row would be hot, and never free.
"""

from __future__ import annotations

from libs.common.db import AsyncConnection
from libs.common.events import Event, SourceWentLive, TelemetryReceived
from services.health import keys
from services.health.domain import HealthModel
from services.health.store import facts, requests, sources
from services.health.tally import Lane, RequestKey, RequestKind, tally


class Handlers:
    """``model`` says which events are looked inside, and whose activity counts."""

    def __init__(self, model: HealthModel) -> None:
        self._model = model

    async def on_telemetry_received(self, connection: AsyncConnection, events: list[TelemetryReceived]) -> list[Event]:
        counted = tally(events, self._model.kept_properties, self._model.activity)
        await facts.write(connection, counted)
        await requests.add(connection, counted.requests)
        return []

    async def on_source_went_live(self, connection: AsyncConnection, events: list[SourceWentLive]) -> list[Event]:
        """Only the router can tell when all marks have been read: two that are written side by side do not see each
        other."""
        await sources.mark(connection, events)
        await requests.add(
            connection,
            {
                RequestKey(
                    one.workspace, RequestKind.WENT_LIVE, keys.NOBODY, str(one.source), None, Lane.BASELINE
                ): one.occurred_at
                for one in events
            },
        )
        return []
