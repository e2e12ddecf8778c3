"""notify over HTTP: what people see, what they may change, and what another workspace never sees."""

from __future__ import annotations

from typing import Any

import asyncpg
import httpx
import pytest

from deploy.local.inbox.faults import Fault, FaultKind
from libs.common.api_keys import Scope, new_api_key
from libs.common.testing import eventually
from services.notify.domain.delivery import delivery_id
from tests.integration.notify.conftest import House
from tests.integration.notify.touches import mail_touch, slack_touch

ENABLED = {"mode": "enabled", "kill_switch": False}


async def key_for(owner: asyncpg.Connection, *scopes: Scope, workspace: int = 1) -> dict[str, str]:
    """The headers of a caller from this workspace."""
    key = new_api_key()
    await owner.execute(
        "INSERT INTO access.api_key (public_id, workspace_id, name, secret_hash, scopes) "
        "VALUES ($1, $2, 'test', $3, $4)",
        key.public_id,
        workspace,
        key.secret_hash,
        [scope.value for scope in scopes or tuple(Scope)],
    )
    return {"Authorization": f"Bearer {key.token}"}


async def test_deliveries_are_shown_with_the_facts_of_their_message(house: House, client: httpx.AsyncClient) -> None:
    headers = await key_for(house.owner, Scope.READ)
    await house.tell(slack_touch(1), mail_touch(2))
    await house.work()
    page = (await client.get("/v1/deliveries", headers=headers)).json()
    assert [one["touch_id"] for one in page["deliveries"]] == ["touch-2", "touch-1"]
    alert = page["deliveries"][1]
    assert (alert["channel"], alert["target"], alert["state"], alert["reason"]) == (
        "slack",
        "#customer-success",
        "suppressed",
        "observe",
    )
    assert alert["facts"]["reasons"][0]["title"] == "Active users"
    assert page["next_cursor"] is None


async def test_one_delivery_shows_its_message_as_its_reader_sees_it(house: House, client: httpx.AsyncClient) -> None:
    headers = await key_for(house.owner, Scope.READ)
    await house.tell(slack_touch(1), mail_touch(2), mail_touch(3, template="christmas"))
    await house.work()
    alert = (await client.get(f"/v1/deliveries/{delivery_id(1, 'touch-1')}", headers=headers)).json()
    assert alert["message"]["blocks"][0]["text"]["text"] == "🔴 Example &amp; Sons: green → red"
    mail = (await client.get(f"/v1/deliveries/{delivery_id(1, 'touch-2')}", headers=headers)).json()
    assert mail["message"]["subject"] == "Is everything all right at Example & Sons?"
    assert set(mail["message"]) == {"subject", "text", "html"}
    unknown = (await client.get(f"/v1/deliveries/{delivery_id(1, 'touch-3')}", headers=headers)).json()
    assert unknown["message"] is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"account": "account-1"}, ["touch-1"]),
        ({"channel": "email"}, ["touch-3", "touch-2"]),
        ({"state": "suppressed", "channel": "slack"}, ["touch-1"]),
        ({"state": "sent"}, []),
        ({"account": "account-1' OR true --"}, []),
    ],
)
async def test_deliveries_are_filtered(
    house: House, client: httpx.AsyncClient, query: dict[str, str], expected: list[str]
) -> None:
    headers = await key_for(house.owner, Scope.READ)
    await house.tell(slack_touch(1), mail_touch(2), mail_touch(3))
    await house.work()
    found = (await client.get("/v1/deliveries", params=query, headers=headers)).json()["deliveries"]
    assert [one["touch_id"] for one in found] == expected


async def test_deliveries_come_in_pages(house: House, client: httpx.AsyncClient) -> None:
    headers = await key_for(house.owner, Scope.READ)
    await house.tell(*(mail_touch(n) for n in range(7)))
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        params = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/v1/deliveries", params=params, headers=headers)).json()
        seen += [one["touch_id"] for one in page["deliveries"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"touch-{n}" for n in reversed(range(7))]


async def test_what_waits_says_for_what_and_why(house: House, client: httpx.AsyncClient) -> None:
    headers = await key_for(house.owner, Scope.READ)
    await house.mode()
    house.inbox.faults.add(Fault(target="slack", kind=FaultKind.RATE_LIMITED, retry_after_seconds=600))
    await house.tell(slack_touch())
    async with house.running():

        async def is_shown() -> bool:
            (one,) = (await client.get("/v1/deliveries", headers=headers)).json()["deliveries"]
            return (one["state"], one["waiting_for"], one["last_problem"]) == ("pending", "channel", "rate_limited")

        await eventually(is_shown, what="the wait is shown")


async def test_a_new_workspace_is_in_observe(house: House, client: httpx.AsyncClient) -> None:
    headers = await key_for(house.owner, Scope.READ)
    assert (await client.get("/v1/delivery-mode", headers=headers)).json() == {
        "mode": "observe",
        "kill_switch": False,
        "hourly_cap": {"slack": 60, "email": 100},
        "webhook_unknown": "prefer_duplicate",
        "changed_at": None,
        "changed_by": None,
    }


async def test_what_is_left_out_of_a_change_stays_as_it_is(house: House, client: httpx.AsyncClient) -> None:
    headers = await key_for(house.owner)
    caps = {"hourly_cap": {"slack": 5, "email": 6}, "webhook_unknown": "prefer_miss"}
    await client.put("/v1/delivery-mode", json=ENABLED | caps, headers=headers)
    changed = (
        await client.put("/v1/delivery-mode", json={"mode": "observe", "kill_switch": True}, headers=headers)
    ).json()
    assert changed["mode"] == "observe"
    assert changed["kill_switch"] is True
    assert changed["hourly_cap"] == {"slack": 5, "email": 6}
    assert changed["webhook_unknown"] == "prefer_miss"
    assert changed["changed_by"] is not None


async def test_enabling_lets_what_follows_leave_and_what_was_only_observed_stays_untold(
    house: House, client: httpx.AsyncClient
) -> None:
    headers = await key_for(house.owner)
    await house.tell(mail_touch(1))
    await house.work()
    await client.put("/v1/delivery-mode", json=ENABLED, headers=headers)
    await house.tell(mail_touch(2))
    await house.work()
    assert await house.states() == [("suppressed", "observe"), ("sent", None)]


async def test_raising_the_cap_lets_what_waits_leave_at_once(house: House, client: httpx.AsyncClient) -> None:
    headers = await key_for(house.owner)
    await client.put("/v1/delivery-mode", json=ENABLED | {"hourly_cap": {"slack": 1, "email": 1}}, headers=headers)
    await house.tell(*(mail_touch(n) for n in range(3)))
    async with house.running():
        await house.until("sent")
        raised = ENABLED | {"hourly_cap": {"slack": 1, "email": 3}}
        await client.put("/v1/delivery-mode", json=raised, headers=headers)
        await house.until_settled()
    assert len(house.mails()) == 3


async def test_the_kill_switch_holds_for_what_waits(house: House, client: httpx.AsyncClient) -> None:
    headers = await key_for(house.owner)
    await client.put("/v1/delivery-mode", json=ENABLED | {"hourly_cap": {"slack": 1, "email": 1}}, headers=headers)
    await house.tell(*(mail_touch(n) for n in range(3)))
    async with house.running():
        await house.until("sent")
        await client.put("/v1/delivery-mode", json=ENABLED | {"kill_switch": True}, headers=headers)
        await house.until_settled()
    assert sorted(await house.states(), key=str) == [("sent", None)] + [("suppressed", "kill_switch")] * 2


async def test_the_suppression_list_is_edited(house: House, client: httpx.AsyncClient) -> None:
    headers = await key_for(house.owner)
    body = {"channel": "email", "target": " Contact-1@Example.com ", "reason": "asked us to stop"}
    listed = (await client.post("/v1/suppressions", json=body, headers=headers)).json()["suppressions"]
    assert [(one["channel"], one["target"], one["reason"]) for one in listed] == [
        ("email", "contact-1@example.com", "asked us to stop")
    ]
    assert (await client.get("/v1/suppressions", headers=headers)).json()["suppressions"] == listed
    gone = {"channel": "email", "target": "CONTACT-1@example.com"}
    assert (await client.delete("/v1/suppressions", params=gone, headers=headers)).json() == {"suppressions": []}
    again = await client.delete("/v1/suppressions", params=gone, headers=headers)
    assert (again.status_code, again.json()["code"]) == (404, "unknown_suppression")


async def test_another_workspace_sees_and_changes_nothing_of_ours(house: House, client: httpx.AsyncClient) -> None:
    await house.tell(mail_touch(1))
    await house.work()
    ours = await key_for(house.owner)
    await client.post(
        "/v1/suppressions", json={"channel": "email", "target": "a@example.com", "reason": "x"}, headers=ours
    )
    theirs = await key_for(house.owner, workspace=2)
    assert (await client.get("/v1/deliveries", headers=theirs)).json()["deliveries"] == []
    assert (await client.get("/v1/suppressions", headers=theirs)).json() == {"suppressions": []}
    foreign = await client.get(f"/v1/deliveries/{delivery_id(1, 'touch-1')}", headers=theirs)
    unknown = await client.get("/v1/deliveries/00000000-0000-0000-0000-000000000000", headers=theirs)
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json()["code"] == unknown.json()["code"] == "unknown_delivery"
    gone = await client.delete(
        "/v1/suppressions", params={"channel": "email", "target": "a@example.com"}, headers=theirs
    )
    assert gone.status_code == 404
    await client.put("/v1/delivery-mode", json=ENABLED, headers=theirs)
    assert (await client.get("/v1/delivery-mode", headers=ours)).json()["mode"] == "observe"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/delivery-mode", ENABLED),
        ("POST", "/v1/suppressions", {"channel": "email", "target": "a@example.com", "reason": "x"}),
        ("DELETE", "/v1/suppressions?channel=email&target=a@example.com", None),
    ],
)
async def test_only_an_admin_changes_anything(
    house: House, client: httpx.AsyncClient, method: str, path: str, body: dict[str, Any] | None
) -> None:
    reader = await key_for(house.owner, Scope.READ, Scope.WRITE)
    assert (await client.request(method, path, json=body, headers=reader)).status_code == 403
    assert (await client.request(method, path, json=body)).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"mode": "enabled"},
        {"mode": "loud", "kill_switch": False},
        ENABLED | {"hourly_cap": {"slack": -1, "email": 1}},
        ENABLED | {"hourly_cap": {"slack": 1}},
        ENABLED | {"surprise": 1},
        [],
    ],
)
async def test_a_mode_that_makes_no_sense_is_refused(house: House, client: httpx.AsyncClient, body: Any) -> None:
    answer = await client.put("/v1/delivery-mode", json=body, headers=await key_for(house.owner))
    assert answer.status_code in (400, 422)
    assert set(answer.json()) >= {"code", "message"}


@pytest.mark.parametrize(
    "params",
    [
        {"state": "lost"},
        {"channel": "fax"},
        {"limit": "0"},
        {"limit": "100000"},
        {"cursor": "x"},
        {"cursor": "9" * 30},
        {"account": "a\x00b"},
        {"account": "a" * 600},
    ],
)
async def test_a_question_that_makes_no_sense_is_refused(
    house: House, client: httpx.AsyncClient, params: dict[str, str]
) -> None:
    answer = await client.get("/v1/deliveries", params=params, headers=await key_for(house.owner))
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("target", ["", " ", "a\x00b", "x" * 400, "a\nb"])
async def test_a_target_that_makes_no_sense_is_refused(house: House, client: httpx.AsyncClient, target: str) -> None:
    body = {"channel": "email", "target": target, "reason": "x"}
    answer = await client.post("/v1/suppressions", json=body, headers=await key_for(house.owner))
    assert answer.status_code in (400, 422)


async def test_half_a_character_is_refused(house: House, client: httpx.AsyncClient) -> None:
    headers = await key_for(house.owner)
    body = b'{"channel": "email", "target": "a\\ud800b", "reason": "x"}'
    answer = await client.post("/v1/suppressions", content=body, headers=headers)
    assert answer.status_code in (400, 422)
