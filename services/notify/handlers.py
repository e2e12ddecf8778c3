"""What notify does with touches: it writes them into the ledger. Telling people is the sender's work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from libs.common.db import AsyncConnection
from libs.common.events import Channel, Event, TouchCancelled, TouchRequested
from services.notify.store import ledger
from services.notify.transport import Transport

NOBODY = "nobody"


class TouchHandlers:
    """``transports`` say which of their messages queue for one another."""

    def __init__(self, transports: Mapping[Channel, Transport]) -> None:
        self._lanes: Mapping[Channel, Callable[[str], str]] = {
            channel: transport.lane_of for channel, transport in transports.items()
        }

    async def on_touch_requesteds(self, connection: AsyncConnection, events: list[TouchRequested]) -> Sequence[Event]:
        """A touch that is in the ledger already is left as it is, however often and from wherever it comes again."""
        await ledger.accept(connection, events, self._lane_of)
        return []

    async def on_touch_cancelleds(self, connection: AsyncConnection, events: list[TouchCancelled]) -> Sequence[Event]:
        await ledger.cancel(connection, events)
        return []

    def _lane_of(self, touch: TouchRequested) -> str:
        return self._lanes[touch.channel](touch.recipient) if touch.recipient is not None else NOBODY
