"""Real services with one guard taken out each, to show that the checker would see it missing.

python -m tests.faults.sabotage naive-outbox-poller playbook

Each control names the service that shows it best and the fault that brings it to light. Everything else of the process
is as it is in production: only what the composition root names is another.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType

from slack_sdk.http_retry.builtin_async_handlers import async_default_handlers

from libs.common.consumer import Consumer
from libs.common.event_log import Record, TopicPartition
from libs.common.events import Channel
from libs.common.outbox import Relay
from libs.common.runtime import Service, run
from services.notify.settings import NotifySettings
from services.notify.slack_bot import SlackBot
from services.notify.templates import Templates
from services.notify.transport import Transport
from services.notify.transports import transports_for
from tests.faults.checker import Kind
from tests.faults.schedule import SERVICES, FreezeAt, Slack, SlackTrouble
from tests.integration.common.member import WithoutClaims, WithoutCompareAndSet

WITHIN_SECONDS = 60.0
"""For a process to start and come to its failpoint, on a busy machine."""


class NaivePoller(Relay):
    """Remembers the last id that it has published and asks for later ones: a transaction that drew its ids before but
    commits after is never looked at again."""

    _last = 0

    async def _window(self) -> Mapping[TopicPartition, Sequence[tuple[int, Record]]]:
        last = self._last
        later = {place: [row for row in rows if row[0] > last] for place, rows in (await super()._window()).items()}
        return {place: rows for place, rows in later.items() if rows}

    async def _append(self, place: TopicPartition, records: Sequence[tuple[int, Record]]) -> list[int]:
        published = await super()._append(place, records)
        self._last = max([self._last, *published])
        return published


class CarelessConsumer(WithoutClaims, WithoutCompareAndSet, Consumer):
    """Moves its position from wherever it is, and takes events as they come. The claims have to go too: they alone
    absorb what a zombie processes again, and nothing could be seen. Copies on the log are doubled then as well; what
    stands there once is doubled by a zombie alone."""


class RetryingBot(SlackBot):
    """What a client of slack_sdk gets who does not ask."""

    async def open(self) -> None:
        await super().open()
        self._client.retry_handlers = async_default_handlers()


def _poll_naively(app: ModuleType) -> Callable[[], Service]:
    return _composed_with(app, "Relay", NaivePoller)


def _compare_nothing(app: ModuleType) -> Callable[[], Service]:
    return _composed_with(app, "Consumer", CarelessConsumer)


def _let_slack_retry(app: ModuleType) -> Callable[[], Service]:
    return partial(app.compose, _retrying_transports)


def _composed_with(app: ModuleType, name: str, other: type) -> Callable[[], Service]:
    """The composition root, building ``other`` where it says ``name``."""
    assert hasattr(app, name), f"{app.__name__} builds no {name}"
    setattr(app, name, other)
    compose: Callable[[], Service] = app.compose
    return compose


def _retrying_transports(settings: NotifySettings, templates: Templates) -> Mapping[Channel, Transport]:
    token = settings.notify_slack_bot_token
    assert token is not None, "this control tells Slack by bot token"
    bot = RetryingBot(
        token=token.get_secret_value(),
        api_url=settings.notify_slack_api_url,
        timeout_seconds=settings.notify_client_timeout_seconds,
        templates=templates,
    )
    return {**transports_for(settings, templates), Channel.SLACK: bot}


@dataclass(frozen=True)
class Control:
    """Once ``fault`` has struck while ``service`` ran without its guard, the checker finds something of ``kind``.
    ``overtaken``: who is frozen stays so until others have read all telemetry that had come by then."""

    take_out: Callable[[ModuleType], Callable[[], Service]]
    service: str
    fault: FreezeAt | Slack
    kind: Kind
    overtaken: bool = False

    @property
    def armed(self) -> dict[str, str]:
        """What the struck process needs in its environment from its start."""
        if isinstance(self.fault, FreezeAt):
            return {"KIZASHI_FAILPOINTS": f"{self.fault.point}:{self.fault.nth}=freeze"}
        return {}


CONTROLS: dict[str, Control] = {
    # Frozen with its ids drawn and its transaction open, for less than the 3 s after which PostgreSQL would end it,
    # while the other process commits and publishes later ones.
    "naive-outbox-poller": Control(
        take_out=_poll_naively,
        service="playbook",
        fault=FreezeAt(
            at=0.0,
            service="playbook",
            member=0,
            point="playbook.step.before_commit",
            nth=3,
            seconds=2.0,
            within_seconds=WITHIN_SECONDS,
        ),
        kind=Kind.LOST,
    ),
    # Frozen with a batch in hand until somebody else has taken its partition, and read the batch. Not one of the first,
    # which hold the marks of a source that went live and what the load sends to prepare itself.
    "no-compare-and-set": Control(
        take_out=_compare_nothing,
        service="health",
        fault=FreezeAt(
            at=0.0,
            service="health",
            member=0,
            point="consumer.before_transaction",
            nth=110,
            seconds=4.0,
            within_seconds=WITHIN_SECONDS,
        ),
        kind=Kind.DOUBLED,
        overtaken=True,
    ),
    "slack-default-retries": Control(
        take_out=_let_slack_retry,
        service="notify",
        fault=Slack(at=0.0, trouble=SlackTrouble.DROP_AFTER, times=1),
        kind=Kind.TOLD_TWICE,
    ),
}


def command(control: str) -> tuple[str, ...]:
    """What to run instead of the control's service, after ``python -m``."""
    return ("tests.faults.sabotage", control, CONTROLS[control].service)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m tests.faults.sabotage", description=__doc__)
    options.add_argument("control", choices=sorted(CONTROLS))
    options.add_argument("service", choices=[service for service in SERVICES if service != "ingest"])
    given = options.parse_args()
    run(CONTROLS[given.control].take_out(importlib.import_module(f"services.{given.service}.app")))


if __name__ == "__main__":
    main()
