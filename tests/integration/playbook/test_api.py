"""What the HTTP API of playbook shows, and to whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx

from libs.common.api_keys import Scope
from libs.common.events import Band
from tests.integration.playbook.conftest import House, key_for
from tests.unit.playbook.examples import ACCOUNT, band_changed, delivered, snapshot


def _timeline(account: str) -> str:
    return f"/v1/accounts/{quote(account, safe='')}/timeline"


async def _declined(house: House, account: str = ACCOUNT, workspace: int = 1) -> None:
    about = {"account_id": account, "workspace": workspace}
    await house.tell(snapshot(1, **about))
    await house.tell(band_changed(version=1, account_id=account, workspace=workspace))
    await house.do_steps()


async def _get(client: httpx.AsyncClient, path: str, headers: dict[str, str], **query: str | int) -> Any:
    answer = await client.get(path, headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_timeline_tells_the_newest_first(house: House, client: httpx.AsyncClient) -> None:
    await _declined(house)
    [touch] = await house.touches()
    await house.tell(delivered(touch))
    headers = await key_for(house.owner, 1)
    body = await _get(client, _timeline(ACCOUNT), headers)
    assert body["account_id"] == ACCOUNT
    assert body["next_cursor"] is None
    assert [entry["kind"] for entry in body["entries"]] == [
        "touch_delivered",
        "touch_requested",
        "run_started",
        "finding",
    ]
    newest, oldest = body["entries"][0], body["entries"][-1]
    assert newest["title"] == "Delivered: Slack message to #csm"
    assert newest["details"]["provider_id"] == "1700000000.000100"
    assert oldest["at"] == "2026-05-04T09:00:00Z"
    assert oldest["details"]["reasons"][0]["title"] == "Active users"
    assert body["entries"][2]["details"] == {
        "run_id": touch.run_id,
        "playbook": "usage-decline",
        "playbook_version": 1,
        "tier": "high_touch",
        "reason": "started",
    }


async def test_an_account_may_be_called_anything(house: House, client: httpx.AsyncClient) -> None:
    headers = await key_for(house.owner, 1)
    names = ["a/b", "/", "a/timeline", "../secret", "東京 支店", "100%", "a?b#c", "a+b", "x" * 500, '"quoted"', "..."]
    for name in names:
        await _declined(house, name)
        assert (await _get(client, _timeline(name), headers))["account_id"] == name
        [run] = (await _get(client, "/v1/runs", headers, account=name))["runs"]
        assert run["account_id"] == name


async def test_a_known_account_without_entries_has_an_empty_timeline(house: House, client: httpx.AsyncClient) -> None:
    await house.tell(snapshot(1))
    assert (await _get(client, _timeline(ACCOUNT), await key_for(house.owner, 1)))["entries"] == []


async def test_a_foreign_account_is_as_unknown_as_one_that_does_not_exist(
    house: House, client: httpx.AsyncClient
) -> None:
    await _declined(house, "theirs", workspace=2)
    ours, theirs = await key_for(house.owner, 1), await key_for(house.owner, 2)
    foreign = await client.get(_timeline("theirs"), headers=ours)
    unknown = await client.get(_timeline("nobody"), headers=ours)
    assert (foreign.status_code, unknown.status_code) == (404, 404)
    assert foreign.json() == unknown.json()
    assert (await client.get(_timeline("with\0nul"), headers=ours)).status_code == 404
    assert (await _get(client, "/v1/runs", ours))["runs"] == []
    assert (await _get(client, "/v1/runs", ours, account="theirs"))["runs"] == []
    assert len((await _get(client, "/v1/runs", theirs))["runs"]) == 1


async def test_every_page_needs_a_key_that_may_read(house: House, client: httpx.AsyncClient) -> None:
    cannot_read = await key_for(house.owner, 1, Scope.WRITE)
    for path in (_timeline(ACCOUNT), "/v1/runs", "/v1/playbooks"):
        assert (await client.get(path)).status_code == 401
        refused = await client.get(path, headers=cannot_read)
        assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")


async def test_pages_of_a_timeline_join_without_gap_or_repetition(house: House, client: httpx.AsyncClient) -> None:
    await house.tell(snapshot(1))
    for n in range(1, 6):
        await house.tell(
            band_changed(Band.GREEN, Band.YELLOW, version=1, episode=n, as_of=house.clock.at + timedelta(days=n // 2))
        )
    headers = await key_for(house.owner, 1)
    whole = (await _get(client, _timeline(ACCOUNT), headers))["entries"]
    assert len(whole) == 5
    pages, cursor = [], None
    while True:
        body = await _get(client, _timeline(ACCOUNT), headers, limit=2, **({"cursor": cursor} if cursor else {}))
        pages.append(body["entries"])
        if (cursor := body["next_cursor"]) is None:
            break
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [entry for page in pages for entry in page] == whole


async def test_runs_show_their_version_their_steps_and_what_became_of_their_touches(
    house: House, client: httpx.AsyncClient
) -> None:
    await _declined(house)
    [touch] = await house.touches()
    await house.tell(delivered(touch))
    [run] = (await _get(client, "/v1/runs", await key_for(house.owner, 1)))["runs"]
    assert (run["run_id"], run["playbook"], run["playbook_version"]) == (touch.run_id, "usage-decline", 1)
    assert (run["tier"], run["state"], run["outcome"]) == ("high_touch", "open", None)
    assert (run["steps"], run["step"]) == (["slack: usage-decline", "wait_days: 30", "end"], 2)
    assert (run["started_at"], run["next_step_at"]) == ("2026-05-04T09:00:00Z", "2026-06-03T09:00:00Z")
    [shown] = run["touches"]
    assert (shown["touch_id"], shown["channel"], shown["recipient"]) == (touch.id, "slack", "#csm")
    assert (shown["state"], shown["settled_at"]) == ("delivered", "2026-05-04T09:00:00Z")


async def test_runs_are_filtered_and_paged_newest_first(house: House, client: httpx.AsyncClient) -> None:
    for n in range(5):
        await _declined(house, f"account {n}")
        house.clock.advance(timedelta(seconds=n % 2))
    await house.tell(snapshot(2, account_id="account 3", band=Band.GREEN))
    headers = await key_for(house.owner, 1)
    whole = (await _get(client, "/v1/runs", headers))["runs"]
    assert [run["started_at"] for run in whole] == sorted((run["started_at"] for run in whole), reverse=True)
    [ended] = (await _get(client, "/v1/runs", headers, state="ended"))["runs"]
    assert (ended["account_id"], ended["outcome"], ended["next_step_at"]) == ("account 3", "goal_reached", None)
    assert len((await _get(client, "/v1/runs", headers, state="open"))["runs"]) == 4
    assert len((await _get(client, "/v1/runs", headers, playbook="usage-decline"))["runs"]) == 5
    assert (await _get(client, "/v1/runs", headers, playbook="account-silent"))["runs"] == []
    pages, cursor = [], None
    while True:
        body = await _get(client, "/v1/runs", headers, limit=2, **({"cursor": cursor} if cursor else {}))
        pages += body["runs"]
        if (cursor := body["next_cursor"]) is None:
            break
    assert pages == whole


REFUSED: list[tuple[str, dict[str, str]]] = [
    ("/v1/runs", {"state": "asleep"}),
    ("/v1/runs", {"limit": "0"}),
    ("/v1/runs", {"limit": "501"}),
    ("/v1/runs", {"cursor": "nonsense"}),
    ("/v1/runs", {"cursor": "eyJhdCI6IngifQ=="}),
    ("/v1/runs", {"cursor": "é"}),
    ("/v1/runs", {"account": "a\0b"}),
    ("/v1/runs", {"playbook": "\0"}),
    (_timeline(ACCOUNT), {"cursor": "bnVsbA=="}),
    (_timeline(ACCOUNT), {"limit": "many"}),
]


async def test_what_cannot_be_asked_is_refused_with_a_sentence(house: House, client: httpx.AsyncClient) -> None:
    await _declined(house)
    headers = await key_for(house.owner, 1)
    for path, query in REFUSED:
        answer = await client.get(path, params=query, headers=headers)
        assert answer.status_code == 422, (path, query)
        assert {"code", "message"} <= answer.json().keys()


async def test_what_is_loaded_is_shown(house: House, client: httpx.AsyncClient) -> None:
    body = await _get(client, "/v1/playbooks", await key_for(house.owner, 1))
    assert [(playbook["name"], playbook["priority"]) for playbook in body["playbooks"]] == [
        ("account-silent", 80),
        ("usage-decline", 50),
    ]
    decline = body["playbooks"][1]
    assert decline["trigger"] == {"band_worsens_to": ["yellow", "red"]}
    assert decline["steps"]["tech_touch"] == ["wait_days: 14", "email: usage-decline", "wait_days: 30", "end"]
    assert body["touch_tiers"]["segments"]["enterprise"] == "high_touch"
    assert body["touch_tiers"]["slack_channels"] == {"high_touch": "#csm", "low_touch": "#csm-pool"}
