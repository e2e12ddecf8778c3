"""kill -9 and SIGSTOP of real notify processes, at named points: nobody is told twice where the channel lets us know.

Each test runs the whole service: touches come over the event log, results go out over it.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import pytest

from deploy.local.inbox.server import Inbox
from libs.common.event_log import EventLog, Record
from libs.common.event_log_open import event_log
from libs.common.events import Event, encode
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.conftest import TestDatabase
from tests.integration.notify.processes import by_bot, by_webhook, environment, process
from tests.integration.notify.touches import mail_touch, slack_touch

BEFORE_ANYTHING_LEFT = ["notify.before_sending_commit", "notify.sending_committed", "notify.connected"]
AFTER_ACCEPTANCE = "notify.answered"
AFTER_OUR_COMMIT = "notify.recorded"
ALL_POINTS = [*BEFORE_ANYTHING_LEFT, AFTER_ACCEPTANCE, AFTER_OUR_COMMIT]
BATCH_POINTS = ["consumer.before_commit", "consumer.after_commit", "outbox.published"]


@dataclass
class World:
    database: TestDatabase
    owner: asyncpg.Connection
    log: EventLog
    inbox: Inbox

    async def append(self, *events: Event) -> None:
        await self.log.append(Topic.TOUCHES, [Record(event.key, encode(event)) for event in events])

    async def policy(self, webhook_unknown: str) -> None:
        await self.owner.execute("UPDATE notify.delivery_mode SET webhook_unknown = $1", webhook_unknown)

    async def results(self) -> int:
        """How many results have gone out over the event log."""
        return sum((await self.log.ends([Topic.DELIVERIES])).values())

    async def until_told(self, results: int = 1) -> None:
        """Until that many results went out, and nothing more is on its way."""

        async def all_out() -> bool:
            waiting = await self.owner.fetchval(
                "SELECT (SELECT count(*) FROM notify.schedule) + (SELECT count(*) FROM notify.outbox)"
            )
            return waiting == 0 and await self.results() >= results

        await eventually(all_out, within_seconds=40, what=f"{results} results went out")

    async def row(self) -> asyncpg.Record:
        row = await self.owner.fetchrow("SELECT state, reason, attempt, doubtful FROM notify.delivery")
        assert row is not None
        return row


@pytest.fixture
async def world(database: TestDatabase, owner: asyncpg.Connection, inbox: Inbox) -> AsyncIterator[World]:
    await owner.execute(
        "INSERT INTO notify.delivery_mode (workspace_id, mode, kill_switch, slack_hourly_cap, email_hourly_cap, "
        "webhook_unknown, changed_by) VALUES (1, 'enabled', false, 1000, 1000, 'prefer_duplicate', 'test')"
    )
    log = event_log(database.url, name="test")
    await log.open()
    yield World(database, owner, log, inbox)
    await log.close()


def now() -> datetime:
    return datetime.now(UTC)


async def killed_at(world: World, point: str, carried: Callable[[Inbox], dict[str, str]], touch: Event) -> None:
    """One process dies at ``point`` with the touch in hand; the next one finishes."""
    variables = environment(world.database.url, world.inbox) | carried(world.inbox)
    await world.append(touch)
    async with process(variables, KIZASHI_FAILPOINTS=point) as first:
        assert await first.until_dead() == -signal.SIGKILL
    async with process(variables):
        await world.until_told()


@pytest.mark.parametrize("point", [*ALL_POINTS, *BATCH_POINTS])
async def test_killed_with_a_slack_alert_in_hand_one_message_is_seen(world: World, point: str) -> None:
    await killed_at(world, point, by_bot, slack_touch(now=now()))
    assert len(world.inbox.messages.slack()) == 1
    row = await world.row()
    assert (row["state"], row["doubtful"]) == ("sent", 0)
    assert await world.results() == (2 if point == "outbox.published" else 1)


@pytest.mark.parametrize("point", ALL_POINTS)
async def test_killed_with_a_mail_in_hand_one_message_id_is_seen(world: World, point: str) -> None:
    await killed_at(world, point, by_bot, mail_touch(now=now()))
    mails = world.inbox.messages.emails()
    assert len(mails) == (2 if point == AFTER_ACCEPTANCE else 1)
    assert len({mail.message_id for mail in mails}) == 1
    assert (await world.row())["state"] == "sent"
    assert await world.results() == 1


@pytest.mark.parametrize(
    ("point", "policy", "messages", "state"),
    [
        ("notify.sending_committed", "prefer_duplicate", 1, "sent"),
        (AFTER_ACCEPTANCE, "prefer_duplicate", 2, "sent"),
        ("notify.sending_committed", "prefer_miss", 0, "failed"),
        (AFTER_ACCEPTANCE, "prefer_miss", 1, "failed"),
    ],
)
async def test_killed_with_a_webhook_in_hand_the_policy_decides_and_the_doubt_is_counted(
    world: World, point: str, policy: str, messages: int, state: str
) -> None:
    await world.policy(policy)
    await killed_at(world, point, by_webhook, slack_touch(now=now()))
    assert len(world.inbox.messages.slack()) == messages
    row = await world.row()
    assert (row["state"], row["doubtful"]) == (state, 1)
    assert await world.results() == 1


FREEZING = "tests.integration.notify.freezing_notify"


@pytest.mark.parametrize("touch", [slack_touch, mail_touch])
async def test_a_frozen_owner_does_not_speak_beside_its_successor(world: World, touch: Callable[..., Event]) -> None:
    """Frozen with its claim committed, it wakes when another process has long told it."""
    variables = environment(world.database.url, world.inbox) | by_bot(world.inbox)
    await world.append(touch(now=now()))
    async with process(variables, FREEZING) as frozen:
        await frozen.until_frozen()
        async with process(variables):
            await world.until_told()
            frozen.thaw()
            await frozen.until_it_says("lease_ran_out")
    assert len(world.inbox.messages.all()) == 1
    assert await world.results() == 1


async def test_negative_control_a_frozen_owner_that_forgets_its_lease_speaks_and_is_caught(world: World) -> None:
    variables = environment(world.database.url, world.inbox) | by_bot(world.inbox)
    await world.append(slack_touch(now=now()))
    async with process(variables, FREEZING, "careless") as frozen:
        await frozen.until_frozen()
        async with process(variables):
            await world.until_told()
            frozen.thaw()
            await frozen.until_it_says("outcome_too_late")
    assert len(world.inbox.messages.all()) == 2
    assert await world.results() == 1


async def test_two_processes_killed_one_after_the_other_tell_a_backlog_once(world: World) -> None:
    variables = environment(world.database.url, world.inbox) | by_bot(world.inbox)
    touches = [slack_touch(n, recipient=f"#team-{n}", now=now()) for n in range(10)]
    touches += [mail_touch(n, now=now()) for n in range(10, 30)]
    await world.append(*touches)
    async with (
        process(variables, KIZASHI_FAILPOINTS="notify.answered:5") as first,
        process(variables, KIZASHI_FAILPOINTS="notify.sending_committed:7") as second,
    ):
        await first.until_dead()
        await second.until_dead()
    async with process(variables), process(variables):
        await world.until_told(results=30)
    assert sorted(one.channel_name for one in world.inbox.messages.slack()) == sorted(f"#team-{n}" for n in range(10))
    assert len({mail.message_id for mail in world.inbox.messages.emails()}) == 20
    assert await world.owner.fetchval("SELECT count(*) FROM notify.delivery WHERE state = 'sent'") == 30
    assert await world.results() >= 30, "a result may go out twice: under one id, when its publisher is killed"
