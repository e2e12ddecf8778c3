"""Providers that refuse, slow down, hang up and lie: nobody is told twice where the channel lets us know."""

from __future__ import annotations

import asyncio
import socket
import threading
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from slack_sdk.http_retry.builtin_async_handlers import async_default_handlers

from deploy.local.inbox.faults import Fault, FaultKind
from deploy.local.inbox.server import Inbox, running_inbox
from libs.common.events import Channel, TouchDelivered, TouchFailed
from libs.common.testing import eventually
from services.notify.domain.delivery import Delivery, Settling
from services.notify.domain.outcomes import Outcome
from services.notify.lease import Lease, LeaseRanOut
from services.notify.slack_bot import SlackBot
from services.notify.slack_session import slack_session, speaking_under
from services.notify.slack_webhook import SlackWebhook
from tests.certificates import self_signed
from tests.conftest import LOGIN
from tests.integration.notify.conftest import (
    TEMPLATES,
    TIMEOUT_SECONDS,
    House,
    bot,
    carried_by,
    mail,
    webhook,
)
from tests.integration.notify.touches import mail_touch, slack_touch
from tests.unit.notify.samples import delivery

LOST_BEFORE = [FaultKind.DROP_BEFORE, FaultKind.HANG_BEFORE]
LOST_AFTER = [FaultKind.DROP_AFTER, FaultKind.HANG_AFTER]


# --- Slack by bot token ---


@pytest.mark.parametrize("kind", [*LOST_BEFORE, *LOST_AFTER, FaultKind.SERVER_ERROR])
async def test_a_lost_answer_from_slack_is_looked_up_and_told_once(house: House, kind: FaultKind) -> None:
    await house.mode()
    house.inbox.faults.add(Fault(target="slack", kind=kind))
    await house.tell(slack_touch())
    await house.work()
    assert len(house.slack()) == 1
    (row,) = await house.ledger()
    assert (row["state"], row["doubtful"]) == ("sent", 0)
    assert row["attempt"] == (1 if kind in LOST_AFTER else 2)
    (result,) = await house.results()
    assert isinstance(result, TouchDelivered)
    assert result.provider_id == house.slack()[0].ts


async def test_slack_saying_that_something_may_have_happened_is_looked_up(house: House) -> None:
    await house.mode()
    house.inbox.faults.add(Fault(target="slack", kind=FaultKind.SLACK_ERROR, slack_error="fatal_error"))
    await house.tell(slack_touch())
    await house.work()
    assert len(house.slack()) == 1


async def test_a_look_up_reads_on_where_the_channel_is_busy(house: House) -> None:
    """The message is older than a page of others; the page is read by its id, learnt from the channel list."""
    await house.mode()
    house.inbox.faults.add(Fault(target="slack", kind=FaultKind.DROP_AFTER))
    await house.tell(slack_touch())
    async with house.running():
        await house.until("unknown")
        (told,) = house.slack()
        for n in range(450):
            house.inbox.messages.put(
                told.model_copy(update={"id": f"other-{n}", "ts": _later(told.ts, n), "metadata": None})
            )
        await house.until_settled()
    assert (await house.states()) == [("sent", None)]
    assert [one.metadata is None for one in house.slack()].count(False) == 1


def _later(ts: str, n: int) -> str:
    return f"{float(ts) + n / 1000 + 0.001:.6f}"


async def test_a_look_up_that_is_refused_for_now_is_repeated(house: House) -> None:
    await house.mode()
    house.inbox.faults.add(Fault(target="slack", kind=FaultKind.DROP_AFTER))
    house.inbox.faults.add(
        Fault(target="slack", kind=FaultKind.RATE_LIMITED, method="conversations.history", retry_after_seconds=1)
    )
    house.inbox.faults.add(Fault(target="slack", kind=FaultKind.HANG_BEFORE, method="conversations.history"))
    await house.tell(slack_touch())
    await house.work()
    assert len(house.slack()) == 1
    assert await house.states() == [("sent", None)]


@pytest.mark.parametrize(("policy", "told", "state"), [("prefer_duplicate", 2, "sent"), ("prefer_miss", 1, "failed")])
async def test_a_bot_that_may_not_read_is_settled_by_policy_and_counted(
    house: House, policy: str, told: int, state: str
) -> None:
    await house.mode(webhook_unknown=policy)
    house.inbox.faults.add(Fault(target="slack", kind=FaultKind.DROP_AFTER))
    house.inbox.faults.add(
        Fault(target="slack", kind=FaultKind.SLACK_ERROR, method="conversations.history", slack_error="missing_scope")
    )
    await house.tell(slack_touch())
    await house.work()
    assert len(house.slack()) == told
    (row,) = await house.ledger()
    assert (row["state"], row["doubtful"]) == (state, 1)


async def test_a_bot_that_may_read_public_channels_only_still_looks_up(house: House) -> None:
    await house.mode()
    house.inbox.faults.add(Fault(target="slack", kind=FaultKind.DROP_AFTER))
    house.inbox.faults.add(
        Fault(target="slack", kind=FaultKind.SLACK_ERROR, method="conversations.list", slack_error="missing_scope")
    )
    await house.tell(slack_touch())
    await house.work()
    assert len(house.slack()) == 1


class _BotWithItsOwnRetries(SlackBot):
    """What a client of slack_sdk gets who does not ask."""

    async def open(self) -> None:
        await super().open()
        self._client.retry_handlers = async_default_handlers()


class _BotThatDoesNotLook(SlackBot):
    """What the ledger would do without its look-up."""

    settling = Settling.POLICY


@pytest.mark.parametrize("naive", [_BotWithItsOwnRetries, _BotThatDoesNotLook])
async def test_negative_control_naive_senders_tell_twice_and_are_caught(house: House, naive: type[SlackBot]) -> None:
    await house.mode()
    house.inbox.faults.add(Fault(target="slack", kind=FaultKind.DROP_AFTER))
    transport = naive(
        token=house.inbox.slack_token,
        api_url=house.inbox.slack_api_url,
        timeout_seconds=TIMEOUT_SECONDS,
        templates=TEMPLATES,
    )
    async with carried_by(house, transport):
        await house.tell(slack_touch())
        await house.work()
    assert len(house.slack()) == 2


async def test_retry_after_is_obeyed_by_its_channel_and_by_no_other(house: House) -> None:
    await house.mode()
    house.inbox.faults.add(
        Fault(target="slack", kind=FaultKind.RATE_LIMITED, retry_after_seconds=3, where="#customer-success")
    )
    began = datetime.now(UTC)
    await house.tell(slack_touch(1), slack_touch(2), slack_touch(3, recipient="#pool"))
    async with house.running():
        await eventually(lambda: _told(house, "#pool"), within_seconds=2.5, what="the other channel")

        async def shown() -> bool:
            return "channel" in [row["waiting_for"] for row in await house.ledger()]

        await eventually(shown, what="the wait is shown")
        await house.until_settled()
    limited = house.slack("#customer-success")
    assert len(limited) == 2
    assert (limited[0].received_at - began).total_seconds() >= 3


async def _told(house: House, channel: str) -> bool:
    return bool(house.slack(channel))


async def test_a_channel_that_hangs_blocks_no_other(house: House) -> None:
    await house.mode()
    house.inbox.faults.add(Fault(target="slack", kind=FaultKind.HANG_BEFORE, where="#customer-success", times=100))
    began = datetime.now(UTC)
    await house.tell(
        *(slack_touch(n) for n in range(3)), *(slack_touch(10 + n, recipient=f"#team-{n}") for n in range(5))
    )
    async with house.running():
        await house.until("sent", 5)
    slowest = max(one.received_at for one in house.slack())
    assert (slowest - began).total_seconds() < 5
    assert house.slack("#customer-success") == []


async def test_dead_slack_does_not_hold_up_mail(house: House) -> None:
    await house.mode()
    dead = SlackBot(token="xoxb", api_url="http://127.0.0.1:9/", timeout_seconds=1, templates=TEMPLATES)
    async with carried_by(house, dead):
        await house.tell(*(slack_touch(n) for n in range(5)), mail_touch(9))
        async with house.running():
            await house.until("sent")
    rows = await house.ledger()
    assert [row["state"] for row in rows] == ["pending"] * 5 + ["sent"]
    assert rows[0]["last_problem"] == "ClientConnectorError"


async def test_a_dead_channel_costs_one_attempt_at_a_time(house: House) -> None:
    """Nine messages behind the first one are not tried while the first one's failure holds up the channel."""
    await house.mode()
    house.inbox.faults.add(Fault(target="slack", kind=FaultKind.SLACK_ERROR, slack_error="not_in_channel", times=100))
    await house.tell(*(slack_touch(n) for n in range(10)))
    async with house.running(house.sender(Channel.SLACK, luck=0.99)):

        async def two_attempts() -> bool:
            return int(await house.owner.fetchval("SELECT sum(attempt) FROM notify.delivery")) >= 2

        await eventually(two_attempts, what="two attempts")
    assert sum(row["attempt"] for row in await house.ledger()) <= 3
    assert {row["last_problem"] for row in await house.ledger()} <= {"not_in_channel", None}


async def test_a_channel_that_does_not_exist_fails_at_once(house: House) -> None:
    await house.mode()
    await house.tell(slack_touch(recipient="#never-made"))
    await house.work()
    (result,) = await house.results()
    assert isinstance(result, TouchFailed)
    assert result.reason == "channel_not_found"


async def test_a_lease_that_ends_while_the_connection_is_made_lets_nothing_leave(inbox: Inbox) -> None:
    """The clock passes the lease between the claim and the write: as if the process had been frozen in between."""
    moments = iter([0.0, 31.0])
    lease = Lease(30, now=lambda: next(moments))
    transport = bot(inbox)
    await transport.open()
    with pytest.raises(LeaseRanOut):
        await transport.send(delivery(), lease)
    await transport.close()
    assert inbox.messages.all() == []


class _ReadByAThread:
    """A server that reads while the event loop of the test stands still."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.received = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            if connection.recv(1):
                self.received.set()

    def close(self) -> None:
        self._thread.join()
        self._listening.close()


async def test_what_may_leave_has_left_before_anything_else_is_done() -> None:
    """Else a process that freezes over something else wakes up and speaks, however long ago it had looked."""
    server = _ReadByAThread()
    had_left: list[bool] = []

    class Watched(Lease):
        def leave(self) -> None:
            super().leave()
            asyncio.get_running_loop().call_soon(lambda: had_left.append(server.received.wait(1)))

    async with slack_session(TIMEOUT_SECONDS) as session:
        with speaking_under(Watched(30)), pytest.raises(aiohttp.ClientError):
            await session.post(f"http://127.0.0.1:{server.port}/", json={"text": "hello"})
    server.close()
    assert had_left == [True]


async def test_a_lease_that_ends_before_data_lets_no_mail_leave(inbox: Inbox) -> None:
    moments = iter([0.0, 31.0])
    lease = Lease(30, now=lambda: next(moments))
    with pytest.raises(LeaseRanOut):
        await mail(inbox).send(
            delivery(channel=Channel.EMAIL, target="a@example.com", template="account-silent"), lease
        )
    assert inbox.messages.all() == []


# --- Slack by incoming webhook ---


async def test_a_webhook_delivers(house: House) -> None:
    await house.mode()
    async with carried_by(house, webhook(house.inbox)):
        await house.tell(slack_touch())
        await house.work()
    (message,) = house.slack()
    assert message.via == "incoming_webhook"
    assert await house.states() == [("sent", None)]


@pytest.mark.parametrize("kind", [FaultKind.DROP_AFTER, FaultKind.SERVER_ERROR])
@pytest.mark.parametrize(
    ("policy", "state"), [("prefer_duplicate", ("sent", None)), ("prefer_miss", ("failed", "outcome_unknown"))]
)
async def test_a_webhook_whose_answer_was_lost_follows_the_policy_and_is_counted(
    house: House, kind: FaultKind, policy: str, state: tuple[str, str | None]
) -> None:
    await house.mode(webhook_unknown=policy)
    house.inbox.faults.add(Fault(target="slack", kind=kind))
    async with carried_by(house, webhook(house.inbox)):
        await house.tell(slack_touch())
        await house.work()
    accepted_first = 1 if kind is FaultKind.DROP_AFTER else 0
    assert len(house.slack()) == accepted_first + (1 if policy == "prefer_duplicate" else 0)
    assert await house.states() == [state]
    assert [row["doubtful"] for row in await house.ledger()] == [1]


async def test_a_webhook_obeys_retry_after(house: House) -> None:
    await house.mode()
    house.inbox.faults.add(Fault(target="slack", kind=FaultKind.RATE_LIMITED, retry_after_seconds=2))
    began = datetime.now(UTC)
    async with carried_by(house, webhook(house.inbox)):
        await house.tell(slack_touch())
        await house.work()
    (message,) = house.slack()
    assert (message.received_at - began).total_seconds() >= 2


class _WebhookThatLosesTheDatabase(SlackWebhook):
    """Right after Slack has accepted, PostgreSQL is gone."""

    def __init__(self, house: House) -> None:
        super().__init__(url=house.inbox.slack_webhook_url, timeout_seconds=TIMEOUT_SECONDS, templates=TEMPLATES)
        self._owner = house.owner
        self.lost = asyncio.Event()

    async def send(self, delivery: Delivery, lease: Lease) -> Outcome:
        outcome = await super().send(delivery, lease)
        await self._owner.execute(f"ALTER ROLE {LOGIN} NOLOGIN")
        await self._owner.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", LOGIN)
        self.lost.set()
        return outcome


async def test_an_acceptance_is_not_forgotten_while_the_database_is_gone(house: House) -> None:
    """Even a webhook is told once: whoever knows the answer lives, and insists on writing it down."""
    await house.mode()
    await house.tell(slack_touch())
    transport = _WebhookThatLosesTheDatabase(house)
    async with carried_by(house, transport), house.running():
        try:
            await asyncio.wait_for(transport.lost.wait(), 10)

            async def lease_is_over() -> bool:
                return bool(await house.owner.fetchval("SELECT now() > lease_until FROM notify.delivery"))

            await eventually(lease_is_over, what="the lease is over")
        finally:
            await house.owner.execute(f"ALTER ROLE {LOGIN} LOGIN")
        await house.until_settled()
    assert len(house.slack()) == 1
    (row,) = await house.ledger()
    assert (row["state"], row["attempt"], row["doubtful"]) == ("sent", 1, 0)


# --- mail ---


@pytest.mark.parametrize(("kind", "mails"), [(kind, 1) for kind in LOST_BEFORE] + [(kind, 2) for kind in LOST_AFTER])
async def test_a_lost_answer_to_a_mail_sends_it_again_under_the_same_id(
    house: House, kind: FaultKind, mails: int
) -> None:
    await house.mode()
    house.inbox.faults.add(Fault(target="smtp", kind=kind, method="DATA"))
    await house.tell(mail_touch())
    await house.work()
    assert len(house.mails()) == mails
    assert len({mail.message_id for mail in house.mails()}) == 1
    (row,) = await house.ledger()
    assert (row["state"], row["attempt"], row["doubtful"]) == ("sent", 2, 1)
    assert len(await house.results()) == 1


@pytest.mark.parametrize("method", ["MAIL", "RCPT"])
@pytest.mark.parametrize("kind", [FaultKind.DROP_BEFORE, FaultKind.HANG_BEFORE, FaultKind.SMTP_REPLY])
async def test_trouble_before_the_mail_itself_is_no_doubt(house: House, method: str, kind: FaultKind) -> None:
    await house.mode()
    house.inbox.faults.add(Fault(target="smtp", kind=kind, method=method))
    await house.tell(mail_touch())
    await house.work()
    assert len(house.mails()) == 1
    (row,) = await house.ledger()
    assert (row["state"], row["attempt"], row["doubtful"]) == ("sent", 2, 0)


async def test_a_server_that_always_hangs_up_after_accepting_does_not_fill_the_mailbox(house: House) -> None:
    await house.mode()
    house.inbox.faults.add(Fault(target="smtp", kind=FaultKind.DROP_AFTER, method="DATA", times=1000))
    await house.tell(mail_touch())
    async with house.running():

        async def hurried_to_its_end() -> bool:
            await house.owner.execute("UPDATE notify.schedule SET not_before = now() WHERE waiting_for = 'outcome'")
            return not await house.owner.fetchval("SELECT count(*) FROM notify.schedule")

        await eventually(hurried_to_its_end, within_seconds=20, what="it is given up")
    assert await house.states() == [("failed", "outcome_unknown")]
    assert len(house.mails()) == 6
    assert len({mail.message_id for mail in house.mails()}) == 1


async def test_a_recipient_who_does_not_exist_is_never_written_to_again(house: House) -> None:
    await house.mode()
    house.inbox.faults.add(
        Fault(target="smtp", kind=FaultKind.SMTP_REPLY, method="RCPT", smtp_reply="550 5.1.1 no such user")
    )
    await house.tell(mail_touch(1))
    await house.work()
    await house.tell(mail_touch(2, recipient="contact-1@example.com"))
    await house.work()
    assert await house.states() == [("failed", "smtp_550"), ("suppressed", "suppression_list")]
    listed = await house.owner.fetchrow("SELECT channel, target, reason, added_by FROM notify.suppression")
    assert listed is not None
    assert tuple(listed) == ("email", "contact-1@example.com", "smtp_550", "provider")
    assert house.mails() == []


async def test_a_mail_that_is_refused_for_what_it_is_fails_without_blaming_the_recipient(house: House) -> None:
    await house.mode()
    house.inbox.faults.add(
        Fault(target="smtp", kind=FaultKind.SMTP_REPLY, method="DATA", smtp_reply="554 5.7.1 looks like spam")
    )
    await house.tell(mail_touch())
    await house.work()
    assert await house.states() == [("failed", "smtp_554")]
    assert await house.owner.fetchval("SELECT count(*) FROM notify.suppression") == 0


async def test_what_is_no_address_fails(house: House) -> None:
    await house.mode()
    await house.tell(mail_touch(recipient="ken@example.com\r\nRCPT TO:<all@example.com>"))
    await house.work()
    assert await house.states() == [("failed", "invalid_recipient")]
    assert house.mails() == []


async def test_mail_goes_through_starttls_with_a_checked_certificate_and_a_log_in(house: House, tmp_path: Path) -> None:
    await house.mode()
    context, certificate = self_signed(tmp_path)
    async with running_inbox(smtp_tls=context, smtp_login=("kizashi", "secret")) as secure:
        account = {"username": "kizashi", "password": "secret"}
        async with carried_by(house, mail(secure, tls="starttls", ca_file=certificate, **account), Channel.EMAIL):
            await house.tell(mail_touch())
            await house.work()
        assert len(secure.messages.emails()) == 1


async def test_no_mail_goes_to_a_server_without_starttls_or_with_a_certificate_of_nobodys(
    house: House, tmp_path: Path
) -> None:
    await house.mode()
    context, _ = self_signed(tmp_path)
    async with running_inbox(smtp_tls=context) as unknown_authority, running_inbox() as without_tls:
        for number, server in enumerate([unknown_authority, without_tls]):
            async with carried_by(house, mail(server, tls="starttls"), Channel.EMAIL):
                await house.tell(mail_touch(number))
                async with house.running():

                    async def was_tried(number: int = number) -> bool:
                        return (await house.ledger())[number]["last_problem"] is not None

                    await eventually(was_tried, what="it was tried")
            assert server.messages.all() == []
    assert [row["state"] for row in await house.ledger()] == ["pending"] * 2


async def test_a_wrong_password_waits_for_somebody_to_mend_it(house: House, tmp_path: Path) -> None:
    await house.mode()
    context, certificate = self_signed(tmp_path)
    async with running_inbox(smtp_tls=context, smtp_login=("kizashi", "secret")) as secure:
        wrong = mail(secure, tls="starttls", ca_file=certificate, username="kizashi", password="wrong")
        async with carried_by(house, wrong, Channel.EMAIL):
            await house.tell(mail_touch())
            async with house.running():

                async def was_refused() -> bool:
                    return [row["last_problem"] for row in await house.ledger()] == ["smtp_535"]

                await eventually(was_refused, what="the log-in was refused")
        assert secure.messages.all() == []
    assert await house.states() == [("pending", None)]
