"""What playbook does for an account and shows of it reads what is known of the account, however much there is of
others."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import httpx
import msgspec
import pytest

from libs.common.clock import FixedClock
from libs.common.db import Database
from libs.common.events import Band
from libs.common.web import Probes, make_app
from services.playbook import api
from services.playbook.store.pages import RunPlace
from tests.conftest import TestDatabase
from tests.integration.playbook.conftest import House, key_for
from tests.rows_read import many_others, prepare_statistics, reads_at_most
from tests.unit.playbook.examples import NOW, band_changed, catalogue, delivered, snapshot, usage_decline, went_silent

OTHERS = 25_000
"""Rows of others in each table."""
OFTEN = 7
OWN = "own/account"

_OTHERS = [
    "INSERT INTO account SELECT 1, 'other-' || n, 1, '{}', 0, 0",
    "INSERT INTO waiting_finding SELECT 1, 'other-' || n, 'finding', '{}'",
    "INSERT INTO run SELECT 1, md5(n::text)::uuid, 'other-' || n, 'usage-decline', '{DEFINITION}', 'high_touch', 1, "
    "'{}', CASE WHEN n % 2 = 0 THEN 'open' ELSE 'ended' END, 2, '2027-01-01', "
    "'2026-05-04 09:00Z'::timestamptz - n * interval '1 minute', CASE WHEN n % 2 = 1 THEN '2026-05-04 09:00Z' "
    "::timestamptz END, CASE WHEN n % 2 = 1 THEN 'steps_done' END",
    "INSERT INTO schedule SELECT 1, md5(n::text)::uuid, '2027-01-01'",
    "INSERT INTO touch SELECT 1, md5('touch' || n)::uuid, md5(n::text)::uuid, 'other-' || n, 0, 'slack', '#csm', "
    "'usage-decline', 'requested', NULL, NULL, '2026-05-04'",
    # A hundred that have lived for long: reading from the beginning soon finds something of any of them.
    "INSERT INTO timeline_entry (workspace_id, account_id, entry_id, at, kind, title, details) SELECT 1, "
    "'many-' || n % 100, md5(n::text)::uuid, '2026-05-04'::timestamptz - n * interval '1 minute', 'finding', 'Words', "
    "'{}'",
]


@pytest.fixture
def plans() -> str:
    return "force_generic_plan"


@pytest.fixture
async def among_others(database: TestDatabase, plans: str) -> AsyncIterator[asyncpg.Connection]:
    """The owner of the installation."""
    definition = usage_decline().model_dump_json(exclude_none=True)
    statements = [statement.replace("{DEFINITION}", definition) for statement in _OTHERS]
    async with many_others(database, "playbook", statements, OTHERS, plans) as owner:
        yield owner


@asynccontextmanager
async def house(database: TestDatabase, owner: asyncpg.Connection) -> AsyncIterator[House]:
    worker = Database(database.url, role="kizashi_playbook_worker", schema="playbook")
    try:
        yield House(worker, owner, FixedClock(NOW), catalogue())
    finally:
        await worker.close()


async def _story(here: House, accounts: list[str]) -> None:
    """They decline before anybody knows them, are told of, recover, and fall silent."""
    found = [band_changed(Band.RED, version=2, account_id=account) for account in accounts]
    await here.tell(*found)  # they wait
    await here.tell(*(snapshot(2, band=Band.RED, account_id=account) for account in accounts))
    await here.do_steps()
    touches = [touch for touch in await here.touches() if touch.account_id in accounts]
    assert len(touches) == len(accounts)
    await here.tell(*(delivered(touch) for touch in touches[::2]))
    await here.tell(*(snapshot(3, band=Band.GREEN, account_id=account) for account in accounts))
    await here.tell(*(went_silent(version=3, account_id=account) for account in accounts))
    await here.do_steps()
    await here.owner.execute("TRUNCATE outbox")


async def test_what_is_done_for_an_account(database: TestDatabase, among_others: asyncpg.Connection) -> None:
    async with reads_at_most(500, among_others), house(database, among_others) as here:
        for n in range(OFTEN):
            await _story(here, [f"{OWN}-{n}"])


@pytest.mark.parametrize("plans", ["auto"])
async def test_what_is_done_for_a_batch(database: TestDatabase, among_others: asyncpg.Connection) -> None:
    async with reads_at_most(OTHERS // 2, among_others), house(database, among_others) as here:
        await _story(here, [f"{OWN}-{n}" for n in range(140)])


async def test_what_is_shown(database: TestDatabase, among_others: asyncpg.Connection) -> None:
    async with house(database, among_others) as here:
        await _story(here, [OWN])
    await prepare_statistics(among_others)
    headers = await key_for(among_others, 1)
    before = RunPlace(datetime(2026, 4, 20, tzinfo=UTC), UUID(int=0))
    cursor = base64.urlsafe_b64encode(msgspec.json.encode(before)).decode()
    asked = [
        f"/v1/accounts/{OWN}/timeline",
        "/v1/accounts/unknown/timeline",
        "/v1/runs",
        f"/v1/runs?cursor={cursor}",
        f"/v1/runs?state=open&cursor={cursor}",
        f"/v1/runs?account={OWN}",
        f"/v1/runs?account={OWN}&state=ended&playbook=usage-decline",
        "/v1/runs?playbook=account-silent",
        "/v1/runs?playbook=account-silent&state=open",
        "/v1/runs?playbook=unknown",
    ]
    async with reads_at_most(3_000, among_others):
        api_db = Database(database.url, role="kizashi_playbook_api", schema="playbook", pool_size=1)
        app = make_app("Playbook", "Under test", Probes())
        app.include_router(api.routes(api_db, catalogue()))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://playbook", headers=headers) as http:
            for path in asked:
                for _ in range(OFTEN):
                    answer = await http.get(f"{path}{'&' if '?' in path else '?'}limit=10")
                    assert answer.status_code == (404 if "unknown/" in path else 200)
        await api_db.close()
