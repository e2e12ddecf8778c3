"""notify with a real PostgreSQL, a real SMTP server, a Slack double over real HTTP, and a clock that tests move."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from deploy.local.inbox.messages import Email, SlackMessage
from deploy.local.inbox.server import WEBHOOK_CHANNEL, Inbox, running_inbox
from libs.common import outbox
from libs.common.clock import FixedClock
from libs.common.db import Database
from libs.common.events import Channel, DeliveryResult, Event, TouchCancelled, TouchRequested, decode
from libs.common.testing import eventually
from libs.common.web import Probes, make_app
from services.notify import api
from services.notify.handlers import TouchHandlers
from services.notify.sender import Sender, Timing
from services.notify.slack_bot import SlackBot
from services.notify.slack_webhook import SlackWebhook
from services.notify.smtp import Smtp, SmtpServer
from services.notify.transport import Transport
from tests.conftest import TestDatabase
from tests.unit.notify.samples import NOW, templates

SLACK_CHANNELS = frozenset({WEBHOOK_CHANNEL, "customer-success", "pool", *(f"team-{n}" for n in range(10))})
TIMEOUT_SECONDS = 1.0
TIMING = Timing(lease=timedelta(seconds=2), grace=timedelta(seconds=1.3), margin=timedelta(seconds=0.3))
TEMPLATES = templates()


@dataclass
class House:
    """One installation of notify. Results stay in the outbox, where tests read them."""

    url: str
    database: Database
    owner: asyncpg.Connection
    inbox: Inbox
    clock: FixedClock
    transports: dict[Channel, Transport]

    # --- what comes in ---

    async def tell(self, *events: Event) -> None:
        """One batch, in one transaction, handled as the loop does it."""
        handlers = TouchHandlers(self.transports)
        async with self.database.transaction({event.workspace for event in events}) as connection:
            following: list[Event] = []
            if requested := [event for event in events if isinstance(event, TouchRequested)]:
                following += await handlers.on_touch_requesteds(connection, requested)
            if cancelled := [event for event in events if isinstance(event, TouchCancelled)]:
                following += await handlers.on_touch_cancelleds(connection, cancelled)
            await outbox.add(connection, following)

    async def mode(
        self,
        mode: str = "enabled",
        *,
        workspace: int = 1,
        kill_switch: bool = False,
        slack: int = 1000,
        email: int = 1000,
        webhook_unknown: str = "prefer_duplicate",
    ) -> None:
        """Set before anything is asked for; the API's own way is tested with the API."""
        await self.owner.execute(
            "INSERT INTO notify.delivery_mode (workspace_id, mode, kill_switch, slack_hourly_cap, email_hourly_cap, "
            "webhook_unknown, changed_by) VALUES ($1, $2, $3, $4, $5, $6, 'test') ON CONFLICT (workspace_id) "
            "DO UPDATE SET mode = $2, kill_switch = $3, slack_hourly_cap = $4, email_hourly_cap = $5, "
            "webhook_unknown = $6",
            workspace,
            mode,
            kill_switch,
            slack,
            email,
            webhook_unknown,
        )

    # --- what goes on ---

    def sender(self, channel: Channel, *, luck: float = 0.1) -> Sender:
        return Sender(
            channel=channel,
            transport=self.transports[channel],
            database=self.database,
            clock=self.clock,
            timing=TIMING,
            luck=lambda: luck,
        )

    @contextlib.asynccontextmanager
    async def running(self, *senders: Sender) -> AsyncIterator[None]:
        """Senders at work, one per channel unless others are given; a failure of one of them is the test's."""
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for sender in senders or [self.sender(channel) for channel in Channel]:
                group.create_task(sender.run(stopping))
            try:
                yield
            finally:
                stopping.set()

    async def work(self, *senders: Sender, within_seconds: float = 20) -> None:
        """Until everything is settled."""
        async with self.running(*senders):
            await self.until_settled(within_seconds)

    async def until_settled(self, within_seconds: float = 20) -> None:
        async def nothing_is_open() -> bool:
            return not await self.owner.fetchval("SELECT count(*) FROM notify.schedule")

        await eventually(nothing_is_open, within_seconds=within_seconds, what="every delivery is settled")

    # --- what came of it ---

    async def ledger(self) -> list[asyncpg.Record]:
        """Every delivery, in the order in which they were asked for."""
        rows: list[asyncpg.Record] = await self.owner.fetch(
            "SELECT d.*, s.waiting_for, s.not_before FROM notify.delivery d "
            "LEFT JOIN notify.schedule s USING (workspace_id, delivery_id) ORDER BY d.seq"
        )
        return rows

    async def states(self) -> list[tuple[str, str | None]]:
        return [(row["state"], row["reason"]) for row in await self.ledger()]

    async def until(self, state: str, count: int = 1) -> None:
        async def so_many() -> bool:
            return [row["state"] for row in await self.ledger()].count(state) >= count

        await eventually(so_many, what=f"{count} deliveries are {state}")

    async def results(self) -> list[DeliveryResult]:
        values = await self.owner.fetch("SELECT value FROM notify.outbox ORDER BY id")
        events = [decode(row["value"]) for row in values]
        return [event for event in events if isinstance(event, DeliveryResult)]

    def slack(self, channel: str | None = None) -> list[SlackMessage]:
        """What stands in Slack, in one channel or in all."""
        return [one for one in self.inbox.messages.slack() if channel in (None, one.channel_name)]

    def mails(self) -> list[Email]:
        return self.inbox.messages.emails()


@pytest.fixture
async def owner(database: TestDatabase) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.owner_url)
    yield connection
    await connection.close()


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    async with running_inbox(slack_channels=SLACK_CHANNELS) as running:
        yield running


def bot(inbox: Inbox) -> SlackBot:
    return SlackBot(
        token=inbox.slack_token,
        api_url=inbox.slack_api_url,
        timeout_seconds=TIMEOUT_SECONDS,
        templates=TEMPLATES,
    )


def webhook(inbox: Inbox) -> SlackWebhook:
    return SlackWebhook(url=inbox.slack_webhook_url, timeout_seconds=TIMEOUT_SECONDS, templates=TEMPLATES)


def mail(inbox: Inbox, **server: Any) -> Smtp:
    fields: dict[str, Any] = {"host": "127.0.0.1", "port": inbox.smtp_port, "tls": "none"}
    return Smtp(
        server=SmtpServer(**(fields | server)),
        sender="Customer Success <success@kizashi.example>",
        timeout_seconds=TIMEOUT_SECONDS,
        templates=TEMPLATES,
    )


@pytest.fixture
async def house(database: TestDatabase, owner: asyncpg.Connection, inbox: Inbox) -> AsyncIterator[House]:
    worker = Database(database.url, role="kizashi_notify_worker", schema="notify", pool_size=20)
    transports: dict[Channel, Transport] = {Channel.SLACK: bot(inbox), Channel.EMAIL: mail(inbox)}
    house = House(database.url, worker, owner, inbox, FixedClock(NOW), transports)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(worker.close)
        for transport in transports.values():
            await transport.open()
            stack.push_async_callback(transport.close)
        yield house


@contextlib.asynccontextmanager
async def carried_by(house: House, transport: Transport, channel: Channel = Channel.SLACK) -> AsyncIterator[House]:
    """The same house with another transport for a channel."""
    await transport.open()
    before, house.transports[channel] = house.transports[channel], transport
    try:
        yield house
    finally:
        house.transports[channel] = before
        await transport.close()


@pytest.fixture
async def client(database: TestDatabase) -> AsyncIterator[httpx.AsyncClient]:
    """The API of notify. Send the headers of ``key_for``."""
    api_db = Database(database.url, role="kizashi_notify_api", schema="notify")
    app = make_app("Notify", "Under test", Probes())
    app.include_router(api.routes(api_db, TEMPLATES))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://notify") as made:
        yield made
    await api_db.close()
