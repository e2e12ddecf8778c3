"""What a write key may do and until when: pages, quota, expiry, and a rotation that loses nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from libs.common.db import Database
from libs.common.errors import Refused
from libs.common.testing import eventually
from services.ingest.store.write_keys import owner_of_key
from services.ingest.write_keys import KeyOwner, WriteKeys
from tests.conftest import TestDatabase
from tests.integration.ingest.conftest import Start, Tenant

CALL = {"event": "Report Exported", "userId": "u1"}
PAGE = "https://app.example.com"


class Keys:
    """Those of the tenant's source, over HTTP."""

    def __init__(self, client: httpx.AsyncClient, tenant: Tenant) -> None:
        self.client = client
        self.tenant = tenant
        self.path = f"/v1/sources/{tenant.source}/write-keys"

    async def ask(self, method: str, path: str = "", body: object = None) -> httpx.Response:
        return await self.client.request(method, self.path + path, json=body, headers=self.tenant.admin)

    async def make(self, **rules: Any) -> dict[str, Any]:
        answer = await self.ask("POST", "", rules)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made

    async def change(self, key: dict[str, Any], **rules: Any) -> httpx.Response:
        return await self.ask("PATCH", f"/{key['id']}", rules)

    async def rotate(self, key: dict[str, Any], **rotation: Any) -> httpx.Response:
        return await self.ask("POST", f"/{key['id']}/rotate", rotation)

    async def shown(self, key: dict[str, Any]) -> dict[str, Any]:
        listed = (await self.ask("GET")).json()
        return next(one for one in listed if one["id"] == key["id"])

    async def sends(self, key: dict[str, Any], origin: str | None = None) -> httpx.Response:
        headers = {"x-write-key": key["write_key"]} | ({"origin": origin} if origin else {})
        return await self.client.post("/v1/track", json=CALL, headers=headers)


@pytest.fixture
def keys(client: httpx.AsyncClient, tenant: Tenant) -> Keys:
    return Keys(client, tenant)


def in_hours(hours: float) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_key_is_made_with_its_rules_and_says_them(keys: Keys) -> None:
    ends = in_hours(1)
    made = await keys.make(name="web", expires_at=ends, events_per_s=50, origins=[PAGE.upper(), PAGE, PAGE + ":444"])
    assert (made["name"], made["state"], made["events_per_s"]) == ("web", "works", 50)
    assert (moment(made["expires_at"]), made["origins"]) == (moment(ends), [PAGE, PAGE + ":444"])
    shown = await keys.shown(made)
    assert shown == {name: value for name, value in made.items() if name != "write_key"}
    assert (await keys.sends(made)).status_code == 200


async def test_what_is_named_changes_and_nothing_else(keys: Keys) -> None:
    made = await keys.make(expires_at=in_hours(1), events_per_s=50, origins=[PAGE])
    changed = (await keys.change(made, events_per_s=70.0)).json()
    assert changed == await keys.shown(made) == {**await keys.shown(made), "events_per_s": 70, "origins": [PAGE]}
    assert changed["expires_at"] == made["expires_at"]
    assert (await keys.change(made)).json() == changed
    freed = (await keys.change(made, events_per_s=None, expires_at=None, origins=[])).json()
    assert (freed["events_per_s"], freed["expires_at"], freed["origins"]) == (None, None, [])


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"origins": ["https://app.example.com/"]}, "is no origin: write scheme://host or scheme://host:port"),
    ({"origins": ["*"]}, "a key without any origin is for every page"),
    ({"origins": [PAGE] * 51}, "at most 50"),
    ({"origins": None}, "valid list"),
    ({"expires_at": "2030-01-01T00:00:00"}, "with its zone, as 2027-01-31T12:00:00Z"),
    ({"expires_at": 4_000_000_000}, "with its zone"),
    ({"events_per_s": 0}, "greater than or equal to 1"),
    ({"events_per_s": 3e9}, "less than or equal to 1000000"),
    ({"events_per_s": 1.5}, "valid integer"),
    ({"events_per_s": True}, "must be a number"),
    ({"events_per_s": "5"}, "must be a number"),
    ({"event_per_s": 5}, "Extra inputs are not permitted"),
]


async def test_a_rule_that_cannot_be_is_refused_with_a_sentence(keys: Keys) -> None:
    for rules, told in IMPOSSIBLE:
        for answer in (await keys.ask("POST", "", rules), await keys.ask("PATCH", "/any", rules)):
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), rules
            assert told in answer.json()["message"]
            assert "Value error" not in answer.json()["message"]
    for overlap in (-1, 8761, "24", None):
        answer = await keys.ask("POST", "/any/rotate", {"overlap_hours": overlap})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), overlap


async def test_an_expiry_lies_ahead_and_within_reach(keys: Keys, owner: asyncpg.Connection) -> None:
    for moment in ("2020-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        for answer in (
            await keys.ask("POST", "", {"expires_at": moment}),
            await keys.ask("PATCH", "/any", {"expires_at": moment}),
            await keys.client.post(
                "/v1/api-keys",
                json={"name": "x", "scopes": ["read"], "expires_at": moment},
                headers=keys.tenant.admin,
            ),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "expiry_out_of_reach"), moment
    assert await owner.fetchval("SELECT count(*) FROM ingest.write_key") == 1


async def test_a_page_that_is_not_named_is_refused_and_can_read_why(keys: Keys) -> None:
    made = await keys.make(origins=[PAGE, "http://localhost:3000"])
    for origin in (PAGE, "http://localhost:3000", PAGE.upper(), None):
        assert (await keys.sends(made, origin)).status_code == 200, origin
    for origin in ("https://evil.example", PAGE + ":8443", "http://app.example.com", "http://localhost", "null"):
        refused = await keys.sends(made, origin)
        assert (refused.status_code, refused.json()["code"]) == (403, "origin_not_allowed"), origin
        assert refused.json()["message"]
        assert refused.headers["access-control-allow-origin"] == origin
        assert refused.headers["access-control-allow-credentials"] == "true"
        assert "X-Request-Id" in refused.headers["access-control-expose-headers"]
    in_the_body = {**CALL, "writeKey": made["write_key"]}
    elsewhere = await keys.client.post("/v1/track", json=in_the_body, headers={"origin": "https://evil.example"})
    assert elsewhere.status_code == 403
    await keys.change(made, origins=[])
    assert (await keys.sends(made, "https://evil.example")).status_code == 200


async def test_an_expired_key_is_unknown_until_its_expiry_is_moved(keys: Keys, owner: asyncpg.Connection) -> None:
    made = await keys.make(expires_at=in_hours(1))
    await owner.execute("UPDATE ingest.write_key SET expires_at = now() WHERE key_id = $1", made["id"])
    assert (await keys.sends(made)).status_code == 401
    assert (await keys.shown(made))["state"] == "expired"
    assert (await keys.change(made, expires_at=in_hours(1))).json()["state"] == "works"
    assert (await keys.sends(made)).status_code == 200


async def test_a_revoked_key_stays_revoked(keys: Keys) -> None:
    made = await keys.make()
    assert (await keys.ask("DELETE", f"/{made['id']}")).json()["state"] == "revoked"
    changed = await keys.change(made, expires_at=in_hours(1), events_per_s=5)
    assert (changed.status_code, changed.json()["code"]) == (409, "write_key_revoked")
    rotated = await keys.rotate(made)
    assert (rotated.status_code, rotated.json()["code"]) == (409, "write_key_revoked")
    assert (await keys.shown(made))["events_per_s"] is None
    assert (await keys.sends(made)).status_code == 401


async def test_a_rotated_key_has_a_successor_alike_and_works_for_a_while(keys: Keys) -> None:
    old = await keys.make(name="web", events_per_s=50, origins=[PAGE], expires_at=in_hours(90 * 24))
    answer = await keys.rotate(old)
    new = answer.json()
    assert (answer.status_code, new["name"], new["events_per_s"], new["origins"]) == (201, "web", 50, [PAGE])
    assert abs(moment(new["expires_at"]) - moment(in_hours(90 * 24))) < timedelta(minutes=1), "as long a life"
    assert new["replaces"] == await keys.shown(old)
    assert (new["replaces"]["replaced_by"], new["replaces"]["state"]) == (new["id"], "works")
    assert abs(moment(new["replaces"]["expires_at"]) - moment(in_hours(24))) < timedelta(minutes=1)
    assert (await keys.sends(old, PAGE)).status_code == (await keys.sends(new, PAGE)).status_code == 200
    again = await keys.rotate(old)
    assert (again.status_code, again.json()["code"]) == (409, "write_key_rotated")
    assert new["id"] in again.json()["message"]
    assert (await keys.rotate(new, overlap_hours=1.5)).status_code == 201
    # Who needs longer than they thought gives the old one more time.
    longer = (await keys.change(old, expires_at=in_hours(48))).json()
    assert moment(longer["expires_at"]) > moment(in_hours(47))


async def test_an_overlap_of_nothing_ends_the_old_key_at_once(keys: Keys) -> None:
    old = await keys.make()
    new = (await keys.rotate(old, overlap_hours=0)).json()
    assert (new["expires_at"], new["replaces"]["state"]) == (None, "revoked")
    assert ((await keys.sends(old)).status_code, (await keys.sends(new)).status_code) == (401, 200)


async def test_an_overlap_does_not_lengthen_a_life(keys: Keys) -> None:
    old = await keys.make(expires_at=in_hours(1))
    assert (await keys.rotate(old)).json()["replaces"]["expires_at"] == old["expires_at"]


@pytest.mark.parametrize("overlap", [0, 24])
async def test_of_many_rotations_at_once_one_succeeds(keys: Keys, overlap: int) -> None:
    old = await keys.make()
    answers = await asyncio.gather(*(keys.rotate(old, overlap_hours=overlap) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    working = [key for key in (await keys.ask("GET")).json() if key["state"] == "works" and key["name"] == "default"]
    assert len(working) == (1 if overlap == 0 else 2)


async def test_a_process_that_remembers_a_key_forgets_it_when_it_expires(start: Start, tenant: Tenant) -> None:
    running = await start(KIZASHI_INGEST_KEY_CACHE_SECONDS="60")
    async with httpx.AsyncClient(base_url=running.url) as client:
        keys = Keys(client, tenant)
        made = await keys.make(expires_at=in_hours(2 / 3600))
        assert (await keys.sends(made)).status_code == 200

        async def is_refused() -> bool:
            return (await keys.sends(made)).status_code == 401

        await eventually(is_refused, what="the expiry of a key that is remembered for a minute")
        assert datetime.now(UTC) >= moment(made["expires_at"])


async def test_what_is_changed_is_noticed_once_a_key_was_remembered_for_long_enough(
    keys: Keys, database: TestDatabase
) -> None:
    worker = Database(database.url, role="kizashi_ingest_worker", schema="ingest")
    made = await keys.make()

    async def find(secret_hash: bytes) -> KeyOwner | None:
        async with worker.transaction() as connection:
            return await owner_of_key(connection, secret_hash)

    process = WriteKeys(find, remember_seconds=0.3)
    assert (await process.owner(made["write_key"])).origins == frozenset()
    await keys.change(made, origins=[PAGE], events_per_s=7)

    async def follows_the_rules() -> bool:
        owner = await process.owner(made["write_key"])
        return (owner.origins, owner.events_per_s) == (frozenset({PAGE}), 7)

    await eventually(follows_the_rules)
    await keys.ask("DELETE", f"/{made['id']}")

    async def is_refused() -> bool:
        try:
            await process.owner(made["write_key"])
        except Refused:
            return True
        return False

    await eventually(is_refused)
    await worker.close()
