"""What notify does about a delivery and shows of it reads a few rows, however many deliveries there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest

from deploy.local.inbox.server import Inbox
from libs.common.clock import FixedClock
from libs.common.db import Database
from libs.common.events import Channel
from libs.common.ownership import lock_number
from libs.common.testing import eventually
from libs.common.web import Probes, make_app
from services.notify import api
from services.notify.domain.delivery import State, delivery_id
from services.notify.store import ledger
from tests.conftest import TestDatabase
from tests.integration.notify.conftest import TEMPLATES, House, bot, mail
from tests.integration.notify.test_api import key_for
from tests.integration.notify.touches import cancelled, mail_touch, slack_touch
from tests.rows_read import many_others, prepare_statistics, reads_at_most
from tests.unit.notify.samples import NOW

OTHERS = 20_000
"""Rows of others in each table."""
OFTEN = 7
BUSY = lock_number("lane slack #busy")

_OTHERS = [
    # All of them to Slack, some of them within the last hour.
    "INSERT INTO delivery (workspace_id, delivery_id, dedupe_key, account_id, run_id, playbook, tier, channel, target, "
    "template, facts, state, attempt, requested_at, fresh_until, due_at, expires_at, attempted_at, settled_at) "
    "SELECT 1, md5(n::text)::uuid, 'other-' || n, 'many-' || n % 100, 'run', 'usage-decline', 'high_touch', 'slack', "
    "'#csm', 'usage-decline', '{}', 'sent', 1, now(), now(), now(), now(), now() - n * interval '0.2 s', now()",
    "INSERT INTO cancellation SELECT 1, 'other-' || n",
    "INSERT INTO suppression SELECT 1, 'slack', 'other-' || n, 'unwanted', now(), 'me'",
    "INSERT INTO lane (lane) SELECT -n",
    "INSERT INTO schedule (workspace_id, delivery_id, channel, lane, account, not_before, waiting_for) "
    "SELECT 1, md5(n::text)::uuid, CASE WHEN n % 2 = 0 THEN 'slack' ELSE 'email' END, -n, n, '2100-01-01', "
    "'hourly_cap'",
]


@pytest.fixture
def plans() -> str:
    return "force_generic_plan"


@pytest.fixture
async def among_others(database: TestDatabase, plans: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner of the installation."""
    async with many_others(database, "notify", _OTHERS, OTHERS, plans) as owner:
        yield owner


@asynccontextmanager
async def house(database: TestDatabase, owner: asyncpg.Connection, inbox: Inbox) -> AsyncIterator[House]:
    worker = Database(database.url, role="kizashi_notify_worker", schema="notify")
    here = House(database.url, worker, owner, inbox, FixedClock(NOW), {})
    here.transports = {Channel.SLACK: bot(inbox), Channel.EMAIL: mail(inbox)}
    try:
        for transport in here.transports.values():
            await transport.open()
        yield here
    finally:
        for transport in here.transports.values():
            await transport.close()
        await worker.close()


async def _until_published(here: House, count: int) -> None:
    async def so_many() -> bool:
        return bool(await here.owner.fetchval("SELECT count(*) FROM outbox") == count)

    await eventually(so_many, what=f"{count} deliveries are settled")


async def test_what_is_done_about_a_delivery(
    database: TestDatabase, among_others: asyncpg.Connection, inbox: Inbox
) -> None:
    async with reads_at_most(1_000, among_others), house(database, among_others, inbox) as here:
        await here.mode(email=1000)
        for n in range(OFTEN):
            await here.tell(mail_touch(n), mail_touch(n + 100))
            await here.tell(cancelled(mail_touch(n)), cancelled(mail_touch(n + 200)))
        async with here.running(here.sender(Channel.EMAIL)):
            await _until_published(here, 2 * OFTEN)
        assert len(here.mails()) == OFTEN


@pytest.mark.parametrize("plans", ["auto"])
async def test_what_is_done_about_a_batch(
    database: TestDatabase, among_others: asyncpg.Connection, inbox: Inbox
) -> None:
    batch = [mail_touch(n) for n in range(500)]
    async with reads_at_most(OTHERS // 2, among_others), house(database, among_others, inbox) as here:
        await here.tell(*batch)
        await here.tell(*(cancelled(touch) for touch in batch))
        await here.tell(*(cancelled(mail_touch(n)) for n in range(1000, 1500)))


async def test_what_meets_a_cap_that_is_used_up(
    database: TestDatabase, among_others: asyncpg.Connection, inbox: Inbox
) -> None:
    ids = [delivery_id(1, f"touch-{n}") for n in range(3)]
    async with reads_at_most(2_000, among_others), house(database, among_others, inbox) as here:
        await here.mode(slack=60)
        async with here.running(here.sender(Channel.SLACK)):
            for n, one in enumerate(ids):
                await here.tell(slack_touch(n))

                async def waits(one: object = one) -> bool:
                    why = "SELECT waiting_for FROM schedule WHERE workspace_id = 1 AND delivery_id = $1"
                    return bool(await among_others.fetchval(why, one) == "hourly_cap")

                await eventually(waits, what="it waits for the cap")


async def _make_due_in_one_lane(owner: asyncpg.Connection) -> None:
    await owner.execute(
        "UPDATE schedule SET channel = 'slack', lane = $1, not_before = now(), waiting_for = 'turn'", BUSY
    )
    await owner.execute("INSERT INTO lane (lane, not_before) VALUES ($1, '2100-01-01')", BUSY)
    await prepare_statistics(owner)


async def test_what_is_due_beside_a_long_queue(
    database: TestDatabase, among_others: asyncpg.Connection, inbox: Inbox
) -> None:
    await _make_due_in_one_lane(among_others)
    async with reads_at_most(OTHERS // 2, among_others), house(database, among_others, inbox) as here:
        for _ in range(OFTEN):
            async with here.database.transaction() as connection:
                assert await ledger.next_due(connection, Channel.SLACK) is None
        await here.tell(*(slack_touch(n, recipient=f"#team-{n}") for n in range(OFTEN)))
        for n in range(OFTEN):
            async with here.database.transaction() as connection:
                due = await ledger.next_due(connection, Channel.SLACK)
                assert due is not None
                assert due.delivery.touch_id == f"touch-{n}"
                await ledger.settle(connection, due.delivery, State.FAILED, doubtful=0, reason="test")


async def test_what_is_shown(database: TestDatabase, among_others: asyncpg.Connection, inbox: Inbox) -> None:
    async with house(database, among_others, inbox) as here:
        await here.tell(mail_touch(1), slack_touch(2, account_id="own"))
    await prepare_statistics(among_others)
    headers = await key_for(among_others)
    asked = {
        "channel=email": 1,
        "channel=email&cursor=10": 0,
        "state=pending": 2,
        "state=failed": 0,
        "state=pending&channel=slack&cursor=20000": 0,
        "account=own": 1,
        "account=own&state=sent&channel=slack": 0,
        "account=unknown": 0,
    }
    async with reads_at_most(1_000, among_others):
        api_db = Database(database.url, role="kizashi_notify_api", schema="notify", pool_size=1)
        app = make_app("Notify", "Under test", Probes())
        app.include_router(api.routes(api_db, TEMPLATES))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://notify", headers=headers) as http:
            for query, shown in asked.items():
                for _ in range(OFTEN):
                    answer = await http.get(f"/v1/deliveries?{query}&limit=10")
                    assert len(answer.json()["deliveries"]) == shown
                    one = await http.get(f"/v1/deliveries/{delivery_id(1, 'touch-1')}")
                    assert one.status_code == 200
            assert (await http.get("/v1/delivery-mode")).status_code == 200
        await api_db.close()
