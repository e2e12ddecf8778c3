"""The HTTP API of health, as its callers see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest

from libs.common.db import Database
from libs.common.web import Probes, make_app
from services.health.api import routes
from tests.integration.health.world import DAY, MONDAY, World, key_for

HOSTILE = "a/b c?d=%2F#é\"'/health"


@pytest.fixture
async def api(here: World) -> AsyncIterator[httpx.AsyncClient]:
    """As a reader of workspace 1."""
    database = Database(here.database.url, role="kizashi_health_api", schema="health")
    app = make_app("health", "test", Probes())
    app.include_router(routes(database, here.clock))
    headers = await key_for(here, 1, "read")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://health", headers=headers
    ) as client:
        yield client
    await database.close()


def _path(account: str, page: str) -> str:
    return f"/v1/accounts/{quote(account, safe='')}/{page}"


async def test_a_scorecard_adds_up_to_its_score(here: World, api: httpx.AsyncClient) -> None:
    await here.establish("acme")
    ticket = {"priority": "urgent", "ticket_id": 1}
    await here.tell([here.track("Ticket Opened", "acme-1", here.clock.at, id="the-ticket", properties=ticket)])
    await here.settle()
    body = (await api.get(_path("acme", "health"))).json()
    assert body["score"] == pytest.approx(sum(line["given"] for line in body["explanation"]))
    assert 100 - body["score"] == pytest.approx(sum(line["lost"] for line in body["explanation"]))
    tickets = next(line for line in body["explanation"] if line["measure"] == "urgent_tickets")
    assert tickets["lost"] > 0
    assert tickets["evidence"]["last_id"] == "the-ticket"
    assert (body["band"], body["model"], body["silent_since"]) == ("green", {"name": "default", "version": 1}, None)
    assert len(body["trend"]) == 8


async def test_usage_counts_every_call(here: World, api: httpx.AsyncClient) -> None:
    events = here.routine("acme", ["ann"], MONDAY - 7 * DAY, days=2, per_day=2)
    await here.tell([*events, here.track("Invoice Sent", None, MONDAY - DAY, account_id="acme")])
    await here.settle()
    body = (await api.get(_path("acme", "usage"))).json()
    assert body == {
        "account_id": "acme",
        "total": 6,
        "days": [
            {"day": "2026-02-23", "event": "$group", "count": 1},
            {"day": "2026-02-23", "event": "Feature 0 Used", "count": 1},
            {"day": "2026-02-23", "event": "Feature 1 Used", "count": 1},
            {"day": "2026-02-24", "event": "Feature 0 Used", "count": 1},
            {"day": "2026-02-24", "event": "Feature 1 Used", "count": 1},
            {"day": "2026-03-01", "event": "Invoice Sent", "count": 1},
        ],
    }


async def test_accounts_are_listed_page_by_page_and_filtered(here: World, api: httpx.AsyncClient) -> None:
    await here.establish("bolt", "acme", days=60)
    await here.tell([here.group(None, "corp", MONDAY - DAY, traits={"plan": "enterprise", "name": "Corp"})])
    await here.settle()
    first = (await api.get("/v1/accounts", params={"limit": 2})).json()
    assert [account["account_id"] for account in first["accounts"]] == ["acme", "bolt"]
    rest = (await api.get("/v1/accounts", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [account["account_id"] for account in rest["accounts"]] == ["corp"]
    assert rest["next_cursor"] is None
    assert (rest["accounts"][0]["score"], rest["accounts"][0]["band"]) == (None, None)

    async def listed(**wanted: object) -> list[str]:
        answer = await api.get("/v1/accounts", params={name: str(value) for name, value in wanted.items()})
        assert answer.status_code == 200, answer.text
        return [account["account_id"] for account in answer.json()["accounts"]]

    assert await listed(segment="enterprise") == ["corp"]
    assert await listed(band="green") == ["acme", "bolt"]
    assert await listed(score_from=90) == ["acme", "bolt"]
    assert await listed(score_to=90) == []
    assert await listed(stage="onboarding") == ["corp"]
    assert (await api.get("/v1/accounts", params={"cursor": "%%%"})).status_code in (200, 422)
    assert (await api.get("/v1/accounts", params={"band": "blue"})).status_code == 422
    assert (await api.get("/v1/accounts", params={"segment": "a\0b"})).status_code == 422


async def test_an_account_id_may_hold_anything(here: World, api: httpx.AsyncClient) -> None:
    await here.tell(here.routine(HOSTILE, ["ann"], MONDAY - 7 * DAY, days=2))
    await here.settle()
    for page in ("health", "usage"):
        answer = await api.get(_path(HOSTILE, page))
        assert answer.status_code == 200, answer.text
        assert answer.json()["account_id"] == HOSTILE


@pytest.mark.parametrize("page", ["health", "usage"])
@pytest.mark.parametrize(
    "account", ["unknown", "theirs", "a\0b", "\ud800".encode(errors="surrogatepass").decode("latin1")]
)
async def test_a_foreign_account_is_as_unknown_as_one_that_never_was(
    here: World, api: httpx.AsyncClient, account: str, page: str
) -> None:
    await here.tell(here.routine("theirs", ["ann"], MONDAY - 7 * DAY, days=2, workspace=2))
    await here.settle()
    assert (await here.account("theirs", workspace=2))["account_id"] == "theirs"
    answer = await api.get(_path(account, page))
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_account")
    assert (await api.get("/v1/accounts")).json()["accounts"] == []


async def test_where_a_user_belongs_is_what_its_group_calls_say(here: World, api: httpx.AsyncClient) -> None:
    hostile = "u/1 é?#/accounts"
    await here.tell(
        [
            here.group("ann", "acme", MONDAY - 3 * DAY),
            here.group("ann", "bolt", MONDAY - DAY),
            here.group(hostile, "acme", MONDAY),
            here.identify("ann", MONDAY, anonymous_id="cookie"),
            here.group("theirs", "corp", MONDAY, workspace=2),
        ]
    )

    async def of(user: str, **query: str) -> tuple[str | None, list[str]]:
        answer = await api.get(f"/v1/users/{quote(user, safe='')}/accounts", params=query)
        assert (answer.status_code, answer.json()["user_id"]) == (200, user)
        return answer.json()["account_id"], answer.json()["named"]

    assert await of("ann") == ("bolt", ["acme", "bolt"])
    assert await of("ann", on="2026-02-28") == ("acme", ["acme", "bolt"])
    assert await of("cookie", anonymous="true") == ("bolt", ["acme", "bolt"])
    assert await of("cookie") == await of("theirs") == await of("nobody") == (None, [])
    assert await of(hostile) == ("acme", ["acme"])
    assert (await api.get("/v1/users/a%00b/accounts")).json()["code"] == "unknown_user"


async def test_progress_follows_facts_on_their_way_to_scores(here: World, api: httpx.AsyncClient) -> None:
    async def progress() -> dict[str, object]:
        answer = await api.get("/v1/progress")
        assert answer.status_code == 200, answer.text
        body: dict[str, object] = answer.json()
        return body

    nothing = {"requests": 0, "dirty": 0, "due": 0}
    assert await progress() == {
        "as_of": None,
        "caught_up_to": None,
        "waiting": nothing,
        "sources": [],
        "usage_total": 0,
        "usage_unassigned": 0,
        "stopped": [],
    }
    await here.tell(here.routine("acme", ["ann"], MONDAY - 7 * DAY, days=2, per_day=1))
    await here.tell([here.track("Used", "stranger", MONDAY - DAY), here.track("Used", "x", MONDAY, workspace=2)])
    told = await progress()
    assert told["waiting"] == {"requests": 5, "dirty": 0, "due": 0}
    await here.router.route_once()
    assert (await progress())["waiting"] == {"requests": 0, "dirty": 3, "due": 0}
    await here.read_up_to(here.clock.at + DAY)
    await here.work()
    done = await progress()
    assert done == {
        "as_of": "2026-03-02T12:00:00Z",
        "caught_up_to": "2026-03-03T12:00:00Z",
        "waiting": nothing,
        "sources": [{"source": 1, "state": "importing"}],
        "usage_total": 4,
        "usage_unassigned": 1,
        "stopped": [],
    }
    here.clock.advance(DAY)
    assert (await progress())["waiting"] == {"requests": 0, "dirty": 0, "due": 1}
    await here.go_live()
    await here.settle()
    assert (await progress())["sources"] == [{"source": 1, "state": "live"}]
    await here.rows("UPDATE consumer_position SET refused_in_a_row = 25 WHERE topic = 'telemetry' AND partition = 7")
    await here.rows("UPDATE consumer_position SET lost = 'gone' WHERE topic = 'telemetry' AND partition = 3")
    assert (await progress())["stopped"] == ["telemetry/3", "telemetry/7"]


@pytest.mark.parametrize(
    "path",
    ["/v1/accounts", "/v1/accounts/acme/health", "/v1/accounts/acme/usage", "/v1/users/ann/accounts", "/v1/progress"],
)
async def test_every_page_wants_a_key_that_may_read(here: World, api: httpx.AsyncClient, path: str) -> None:
    assert (await api.get(path, headers={"Authorization": ""})).status_code == 401
    assert (await api.get(path, headers=await key_for(here, 1, "write"))).status_code == 403
