"""A touch is told once, or the ledger says why not."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest

from deploy.local.inbox.faults import Fault, FaultKind
from libs.common.events import (
    Channel,
    TouchDelivered,
    TouchFailed,
    TouchRequested,
    TouchSuppressed,
)
from libs.common.testing import eventually
from services.notify.domain.delivery import delivery_id
from services.notify.transport import NotSetUp
from tests.integration.notify.conftest import House, carried_by
from tests.integration.notify.touches import cancelled, mail_touch, slack_touch
from tests.unit.notify.samples import NOW


async def test_a_slack_alert_is_told_and_its_result_goes_out(house: House) -> None:
    await house.mode()
    await house.tell(slack_touch())
    await house.work()
    (message,) = house.slack()
    assert message.channel_name == "#customer-success"
    assert message.metadata == {
        "event_type": "kizashi_delivery",
        "event_payload": {"delivery_id": str(delivery_id(1, "touch-1"))},
    }
    assert "Active users: 4 of 30" in str(message.blocks)
    (result,) = await house.results()
    assert isinstance(result, TouchDelivered)
    assert (result.touch_id, result.run_id, result.provider_id, result.at) == ("touch-1", "run-1", message.ts, NOW)
    (row,) = await house.ledger()
    assert (row["state"], row["attempt"], row["doubtful"]) == ("sent", 1, 0)


async def test_a_mail_is_told_and_its_result_goes_out(house: House) -> None:
    await house.mode()
    await house.tell(mail_touch())
    await house.work()
    (mail,) = house.mails()
    assert mail.recipients == ["contact-1@example.com"]
    assert mail.message_id == f"<{delivery_id(1, 'touch-1')}@kizashi.example>"
    assert mail.subject == "Is everything all right at Example & Sons?"
    assert mail.text
    assert mail.html
    (result,) = await house.results()
    assert isinstance(result, TouchDelivered)
    assert result.provider_id == mail.message_id


async def test_a_new_workspace_tells_nobody_and_shows_what_it_would_have_told(house: House) -> None:
    await house.tell(slack_touch(1), mail_touch(2))
    await house.work()
    assert await house.states() == [("suppressed", "observe")] * 2
    results = await house.results()
    assert sorted(one.touch_id for one in results) == ["touch-1", "touch-2"]
    assert all(isinstance(one, TouchSuppressed) for one in results)
    assert house.inbox.messages.all() == []


async def test_a_touch_that_comes_again_is_told_once(house: House) -> None:
    await house.mode()
    await house.tell(slack_touch(), slack_touch())
    await house.work()
    await house.tell(slack_touch(), slack_touch(recipient="#pool"))
    await house.work()
    assert len(house.slack()) == 1
    assert len(await house.results()) == 1


async def test_the_same_touch_id_in_another_workspace_is_another_touch(house: House) -> None:
    await house.mode()
    await house.mode(workspace=2)
    await house.tell(slack_touch(), slack_touch(workspace=2, recipient="#pool"))
    await house.work()
    assert sorted(one.channel_name for one in house.slack()) == ["#customer-success", "#pool"]
    assert len({one.id for one in await house.results()}) == 2


@pytest.mark.parametrize("touch", [slack_touch(recipient=None), mail_touch(recipient=None)])
async def test_without_a_recipient_nobody_is_told(house: House, touch: TouchRequested) -> None:
    await house.mode()
    await house.tell(touch)
    await house.work()
    assert await house.states() == [("suppressed", "no_recipient")]


async def test_the_kill_switch_stops_everything_that_has_not_left(house: House) -> None:
    await house.mode(kill_switch=True)
    await house.tell(slack_touch(1), mail_touch(2))
    await house.work()
    assert await house.states() == [("suppressed", "kill_switch")] * 2
    assert house.inbox.messages.all() == []


async def test_what_would_mislead_by_now_is_not_told(house: House) -> None:
    await house.mode()
    await house.tell(slack_touch(fresh_until=NOW + timedelta(days=1)))
    house.clock.advance(timedelta(days=1, seconds=1))
    await house.work()
    assert await house.states() == [("suppressed", "stale")]


async def test_who_is_on_the_suppression_list_is_told_nothing_however_the_address_is_written(house: House) -> None:
    await house.mode()
    await house.owner.execute(
        "INSERT INTO notify.suppression (workspace_id, channel, target, reason, added_by) "
        "VALUES (1, 'email', 'contact-1@example.com', 'asked us', 'test')"
    )
    await house.tell(mail_touch(1, recipient="Contact-1@Example.com"), mail_touch(2))
    await house.work()
    assert await house.states() == [("suppressed", "suppression_list"), ("sent", None)]


async def test_another_workspaces_suppression_list_is_not_ours(house: House) -> None:
    await house.mode()
    await house.owner.execute(
        "INSERT INTO notify.suppression (workspace_id, channel, target, reason, added_by) "
        "VALUES (2, 'email', 'contact-1@example.com', 'asked them', 'test')"
    )
    await house.tell(mail_touch(1))
    await house.work()
    assert await house.states() == [("sent", None)]


async def test_a_touch_that_is_cancelled_before_it_leaves_is_not_told(house: House) -> None:
    await house.mode(slack=0)
    await house.tell(slack_touch())
    async with house.running():

        async def waits() -> bool:
            return [row["waiting_for"] for row in await house.ledger()] == ["hourly_cap"]

        await eventually(waits, what="the alert waits for the cap")
        await house.tell(cancelled(slack_touch()))
        await house.until_settled()
    assert await house.states() == [("suppressed", "cancelled")]
    assert house.slack() == []


async def test_a_touch_that_is_cancelled_after_it_left_stays_told(house: House) -> None:
    await house.mode()
    await house.tell(slack_touch())
    await house.work()
    await house.tell(cancelled(slack_touch()))
    await house.work()
    assert await house.states() == [("sent", None)]
    assert len(await house.results()) == 1


async def test_a_request_that_comes_after_its_cancellation_is_not_told(house: House) -> None:
    await house.mode()
    await house.tell(cancelled(slack_touch()))
    await house.tell(slack_touch())
    await house.work()
    assert await house.states() == [("suppressed", "cancelled")]


async def test_over_the_hourly_cap_messages_wait_and_are_seen_to(house: House) -> None:
    await house.mode(email=2)
    await house.tell(*(mail_touch(n) for n in range(5)))
    async with house.running():
        await house.until("sent", 2)

        async def rest_waits() -> bool:
            return [row["waiting_for"] for row in await house.ledger()].count("hourly_cap") == 3

        await eventually(rest_waits, what="three wait for the cap")
    assert len(house.mails()) == 2
    waiting = [row for row in await house.ledger() if row["state"] == "pending"]
    first_left = min(row["attempted_at"] for row in await house.ledger() if row["state"] == "sent")
    assert {row["not_before"] for row in waiting} == {first_left + timedelta(hours=1)}


async def test_what_waited_for_the_cap_goes_when_an_hour_has_passed(house: House) -> None:
    await house.mode(email=1)
    await house.tell(mail_touch(1), mail_touch(2))
    async with house.running():
        await house.until("sent")
        await house.owner.execute(
            "UPDATE notify.delivery SET attempted_at = attempted_at - interval '1 hour' WHERE state = 'sent'"
        )
        await house.owner.execute("UPDATE notify.schedule SET not_before = now()")
        await house.until("sent", 2)
    assert len(house.mails()) == 2


async def test_what_went_stale_while_it_waited_for_the_cap_is_not_told(house: House) -> None:
    await house.mode(slack=0)
    await house.tell(slack_touch())
    async with house.running():

        async def waits() -> bool:
            return [row["waiting_for"] for row in await house.ledger()] == ["hourly_cap"]

        await eventually(waits, what="the alert waits for the cap")
        house.clock.advance(timedelta(days=15))
        await house.mode(slack=10)
        await house.owner.execute("UPDATE notify.schedule SET not_before = now()")
        await house.until_settled()
    assert await house.states() == [("suppressed", "stale")]


async def test_the_caps_of_workspaces_are_their_own(house: House) -> None:
    await house.mode(email=0)
    await house.mode(workspace=2, email=1)
    await house.tell(mail_touch(1), mail_touch(2, workspace=2))
    async with house.running():
        await house.until("sent")
    assert [mail.recipients for mail in house.mails()] == [["contact-2@example.com"]]


async def test_two_senders_never_pass_a_cap_together(house: House) -> None:
    await house.mode(email=5)
    await house.tell(*(mail_touch(n) for n in range(20)))
    async with house.running(*(house.sender(Channel.EMAIL) for _ in range(3))):

        async def rest_waits() -> bool:
            return [row["waiting_for"] for row in await house.ledger()].count("hourly_cap") == 15

        await eventually(rest_waits, what="fifteen wait for the cap")
        await house.until("sent", 5)
    assert len(house.mails()) == 5


async def test_an_unknown_template_fails_and_says_so(house: House) -> None:
    await house.mode()
    await house.tell(slack_touch(template="christmas"))
    await house.work()
    (result,) = await house.results()
    assert isinstance(result, TouchFailed)
    assert result.reason == "unknown_template"


async def test_a_day_without_success_is_a_failure(house: House) -> None:
    await house.mode()
    async with carried_by(house, NotSetUp()):
        await house.tell(slack_touch())
        async with house.running():

            async def was_tried() -> bool:
                return [row["last_problem"] for row in await house.ledger()] == ["not_set_up"]

            await eventually(was_tried, what="it was tried")
            await house.owner.execute("UPDATE notify.delivery SET expires_at = now()")
            await house.owner.execute("UPDATE notify.schedule SET not_before = now()")
            await house.owner.execute("UPDATE notify.lane SET not_before = now()")
            await house.until_settled()
    assert await house.states() == [("failed", "expired")]


async def test_several_senders_beside_each_other_tell_everything_once(house: House) -> None:
    await house.mode()
    touches = [slack_touch(n, recipient=f"#team-{n}") for n in range(10)] + [mail_touch(n) for n in range(10, 40)]
    await house.tell(*touches)
    await house.work(*(house.sender(channel) for channel in Channel for _ in range(3)))
    assert sorted(one.channel_name for one in house.slack()) == sorted(f"#team-{n}" for n in range(10))
    assert sorted(mail.recipients[0] for mail in house.mails()) == sorted(
        f"contact-{n}@example.com" for n in range(10, 40)
    )
    assert sorted(one.touch_id for one in await house.results()) == sorted(touch.id for touch in touches)


async def test_a_slack_channel_gets_one_message_a_second(house: House) -> None:
    await house.mode()
    await house.tell(*(slack_touch(n) for n in range(3)))
    await house.work(*(house.sender(Channel.SLACK) for _ in range(2)))
    times = [one.received_at for one in house.slack()]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert len(gaps) == 2
    assert min(gaps) >= 0.95


async def test_news_of_an_account_never_overtakes_older_news_of_it(house: House) -> None:
    """The first mail is put off twice; the second about the same account waits, one about another account does not."""
    await house.mode()
    house.inbox.faults.add(Fault(target="smtp", kind=FaultKind.SMTP_REPLY, method="RCPT", times=2))
    first = mail_touch(1, recipient="pool@example.com", account_id="acme")
    second = mail_touch(2, recipient="pool@example.com", account_id="acme")
    other = mail_touch(3, recipient="pool@example.com", account_id="other")
    await house.tell(first)
    async with house.running(house.sender(Channel.EMAIL, luck=0.5)):

        async def was_put_off() -> bool:
            return [row["last_problem"] for row in await house.ledger()] == ["smtp_451"]

        await eventually(was_put_off, what="the first was put off")
        await house.tell(second, other)
        await house.until_settled()
    ids = [mail.message_id for mail in house.mails()]
    places = {touch.id: ids.index(f"<{delivery_id(1, touch.id)}@kizashi.example>") for touch in (first, second, other)}
    assert places["touch-1"] < places["touch-2"]
    assert len(ids) == 3


async def test_facts_are_kept_as_they_were(house: House) -> None:
    facts = msgspec.structs.replace(slack_touch().facts, account_name='株式会社 "兆し" 😀 \\ <b>', arr=None, reasons=())
    await house.tell(slack_touch(facts=facts))
    stored = await house.owner.fetchval("SELECT facts FROM notify.delivery")
    assert msgspec.json.decode(stored, type=type(facts)) == facts
