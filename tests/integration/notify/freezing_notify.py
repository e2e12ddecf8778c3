"""A notify that freezes (SIGSTOP) whenever it is about to send, its claim committed and nothing sent yet.

python -m tests.integration.notify.freezing_notify [careless]

``careless`` does not look at its lease any more once it is awake: what a sender without that check would do.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from functools import partial

from libs.common.events import Channel
from libs.common.runtime import run
from services.notify.app import compose
from services.notify.domain.delivery import Delivery
from services.notify.domain.outcomes import Finding, Outcome
from services.notify.lease import Lease
from services.notify.settings import NotifySettings
from services.notify.templates import Templates
from services.notify.transport import Transport
from services.notify.transports import transports_for


class Freezing:
    """A Transport around the real one."""

    def __init__(self, real: Transport, careless: bool) -> None:
        self._real = real
        self._careless = careless
        self.settling = real.settling
        self.spacing_seconds = real.spacing_seconds

    def lane_of(self, target: str) -> str:
        return self._real.lane_of(target)

    async def open(self) -> None:
        await self._real.open()

    async def close(self) -> None:
        await self._real.close()

    async def send(self, delivery: Delivery, lease: Lease) -> Outcome:
        os.kill(os.getpid(), signal.SIGSTOP)
        return await self._real.send(delivery, Lease(3600) if self._careless else lease)

    async def look_up(self, delivery: Delivery, place: str | None) -> Finding:
        return await self._real.look_up(delivery, place)


def freezing(settings: NotifySettings, templates: Templates) -> Mapping[Channel, Transport]:
    careless = "careless" in sys.argv
    return {channel: Freezing(real, careless) for channel, real in transports_for(settings, templates).items()}


if __name__ == "__main__":
    run(partial(compose, freezing))
