"""notify as a whole process: it starts, answers, survives poison, and stops in time."""

from __future__ import annotations

import signal
from time import monotonic

import asyncpg
import httpx
import msgspec
import pytest

from deploy.local.inbox.faults import Fault, FaultKind
from deploy.local.inbox.server import Inbox
from libs.common.event_log import Record
from libs.common.event_log_open import event_log
from libs.common.events import encode
from libs.common.testing import eventually, free_port
from libs.common.topics import Topic
from tests.conftest import TestDatabase
from tests.integration.notify.processes import Process, by_bot, environment, process
from tests.integration.notify.test_api import key_for
from tests.integration.notify.test_crashes import now
from tests.integration.notify.touches import mail_touch, slack_touch


async def until_ready(http: httpx.AsyncClient) -> None:
    async def ready() -> bool:
        try:
            return (await http.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    await eventually(ready, within_seconds=20, what="readiness")


async def test_poison_becomes_a_dead_letter_and_the_next_touch_is_told(
    database: TestDatabase, owner: asyncpg.Connection, inbox: Inbox
) -> None:
    port = free_port()
    variables = environment(database.url, inbox) | by_bot(inbox) | {"KIZASHI_NOTIFY_PORT": str(port)}
    headers = await key_for(owner)
    log = event_log(database.url, name="test")
    await log.open()
    good, hollow = slack_touch(1, now=now()), slack_touch(2, now=now())
    poisoned = msgspec.structs.replace(hollow, facts=msgspec.structs.replace(hollow.facts, account_name="a\0b"))
    garbage = Record(good.key, b"{not json")
    async with process(variables), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers) as http:
        await until_ready(http)
        enabled = {"mode": "enabled", "kill_switch": False}
        assert (await http.put("/v1/delivery-mode", json=enabled)).status_code == 200
        await log.append(
            Topic.TOUCHES, [Record(poisoned.key, encode(poisoned)), garbage, Record(good.key, encode(good))]
        )

        async def is_told() -> bool:
            return len(inbox.messages.slack()) == 1

        async def both_are_buried() -> bool:
            return len((await http.get("/v1/dead-letters")).json()) == 2

        await eventually(is_told, what="the good touch is told")
        await eventually(both_are_buried, what="two dead letters")
        sent = 'kizashi_notify_deliveries_total{channel="slack",reason="",state="sent"} 1.0'

        async def is_counted() -> bool:  # once the outcome is written, a moment after Slack has the message
            return sent in (await http.get("/metrics")).text

        await eventually(is_counted, what="the delivery is counted")
        assert (await http.get("/livez")).status_code == 200
        paths = (await http.get("/openapi.json")).json()["paths"]
        assert {"/v1/deliveries", "/v1/delivery-mode", "/v1/suppressions", "/v1/dead-letters"} <= set(paths)
    await log.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_finishes_the_call_that_is_under_way(
    database: TestDatabase, owner: asyncpg.Connection, inbox: Inbox, number: signal.Signals
) -> None:
    """The provider hangs; the stop waits for the client time-out and writes what came of it."""
    await owner.execute(
        "INSERT INTO notify.delivery_mode (workspace_id, mode, kill_switch, slack_hourly_cap, email_hourly_cap, "
        "webhook_unknown, changed_by) VALUES (1, 'enabled', false, 9, 9, 'prefer_duplicate', 'test')"
    )
    log = event_log(database.url, name="test")
    await log.open()
    inbox.faults.add(Fault(target="smtp", kind=FaultKind.HANG_AFTER, method="DATA"))
    touch = mail_touch(now=now())
    await log.append(Topic.TOUCHES, [Record(touch.key, encode(touch))])
    async with process(environment(database.url, inbox)) as running:

        async def is_under_way() -> bool:
            return len(inbox.messages.emails()) == 1

        await eventually(is_under_way, within_seconds=20, what="the mail is under way")
        assert await stopped(running, number) < 20
    assert await owner.fetchval("SELECT state FROM notify.delivery") == "unknown"
    assert await owner.fetchval("SELECT last_problem FROM notify.delivery") == "timeout"
    await log.close()


async def stopped(running: Process, number: signal.Signals) -> float:
    began = monotonic()
    running.running.send_signal(number)
    assert await running.until_dead() == 0
    return monotonic() - began


async def test_a_template_with_a_mistake_is_one_sentence(database: TestDatabase, inbox: Inbox) -> None:
    variables = environment(database.url, inbox) | {"KIZASHI_NOTIFY_LANGUAGE": "xx"}
    async with process(variables) as running:
        assert await running.until_dead() == 2
        assert running.log.read_text().startswith("There are no messages in the language xx")
