"""API keys over HTTP: nobody gets more than they have, and nobody locks themselves out by accident."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from libs.common.api_keys import Scope, authenticate
from libs.common.db import Database
from libs.common.errors import Refused
from tests.conftest import TestDatabase
from tests.integration.ingest.conftest import Tenant, add_api_key

PATH = "/v1/api-keys"


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def id_of(key: str) -> str:
    return key.split("_")[1]


async def make(client: httpx.AsyncClient, by: dict[str, str], *scopes: str, **more: Any) -> dict[str, Any]:
    answer = await client.post(PATH, json={"name": "made", "scopes": scopes, **more}, headers=by)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def listed(client: httpx.AsyncClient, tenant: Tenant) -> dict[str, dict[str, Any]]:
    return {key["id"]: key for key in (await client.get(PATH, headers=tenant.admin)).json()}


@pytest.fixture
async def health(database: TestDatabase) -> AsyncIterator[Database]:
    """As another service looks keys up."""
    opened = Database(database.url, role="kizashi_health_api", schema="health")
    yield opened
    await opened.close()


async def test_a_key_is_shown_once_and_opens_what_its_scopes_say(client: httpx.AsyncClient, tenant: Tenant) -> None:
    made = await make(client, tenant.admin, "read", "read")
    assert (made["name"], made["scopes"], made["state"], made["yours"]) == ("made", ["read"], "works", False)
    assert id_of(made["api_key"]) == made["id"]
    reader = bearer(made.pop("api_key"))
    assert (await client.get("/v1/sources", headers=reader)).status_code == 200
    assert (await client.get(PATH, headers=reader)).status_code == 403
    assert (await client.post("/v1/sources", json={"name": "x"}, headers=reader)).status_code == 403
    known = await listed(client, tenant)
    assert known[made["id"]] == made
    assert [key["id"] for key in known.values() if key["yours"]] == [id_of(tenant.api_key)]
    secret = reader["authorization"].split("_")[2]
    assert secret not in str(known)


async def test_nobody_gives_or_takes_over_a_scope_that_they_lack(
    client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    admin = bearer(await add_api_key(owner, tenant.workspace, Scope.READ, Scope.ADMIN))
    answer = await client.post(PATH, json={"name": "x", "scopes": ["read", "operator"]}, headers=admin)
    assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
    assert "lacks the scope operator, so it cannot give it" in answer.json()["message"]
    takes_over = await client.post(f"{PATH}/{id_of(tenant.api_key)}/rotate", headers=admin)
    assert (takes_over.status_code, takes_over.json()["code"]) == (403, "missing_scope")
    newer = await add_api_key(owner, tenant.workspace, Scope.READ)
    await owner.execute(
        "UPDATE access.api_key SET scopes = '{read,of_a_newer_release}' WHERE public_id = $1", id_of(newer)
    )
    assert (await client.post(f"{PATH}/{id_of(newer)}/rotate", headers=tenant.admin)).status_code == 403
    assert len(await listed(client, tenant)) == 3
    assert (await make(client, tenant.admin, "operator"))["scopes"] == ["operator"]


async def test_what_cannot_be_made_is_refused(client: httpx.AsyncClient, tenant: Tenant) -> None:
    for body in [
        {},
        {"name": "x"},
        {"scopes": ["read"]},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "a\nb", "scopes": ["read"]},
        {"name": "x", "scopes": ["read"], "scope": "admin"},
        {"name": "x", "scopes": ["read"], "expires_at": "yesterday"},
    ]:
        answer = await client.post(PATH, json=body, headers=tenant.admin)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), body


async def test_a_revoked_key_is_refused_everywhere_at_once(
    client: httpx.AsyncClient, health: Database, tenant: Tenant
) -> None:
    made = await make(client, tenant.admin, "read")
    key = bearer(made["api_key"])
    assert (await authenticate(health, key["authorization"])).scopes == {Scope.READ}
    revoked = await client.delete(f"{PATH}/{made['id']}", headers=tenant.admin)
    assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")
    assert (await client.get("/v1/sources", headers=key)).status_code == 401
    with pytest.raises(Refused, match="revoked"):
        await authenticate(health, key["authorization"])
    assert (await client.delete(f"{PATH}/{made['id']}", headers=tenant.admin)).json() == revoked.json()
    rotated = await client.post(f"{PATH}/{made['id']}/rotate", headers=tenant.admin)
    assert (rotated.status_code, rotated.json()["code"]) == (409, "api_key_revoked")


async def test_an_expiring_key_ends_in_real_time(
    client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    ends = datetime.now(UTC) + timedelta(days=365)
    made = await make(client, tenant.admin, "read", expires_at=ends.isoformat())
    assert datetime.fromisoformat(made["expires_at"]) == ends
    await owner.execute("UPDATE access.api_key SET expires_at = now() WHERE public_id = $1", made["id"])
    assert (await client.get("/v1/sources", headers=bearer(made["api_key"]))).status_code == 401
    assert (await listed(client, tenant))[made["id"]]["state"] == "expired"


async def test_a_key_that_is_rotated_by_itself_goes_on_for_the_overlap(
    client: httpx.AsyncClient, tenant: Tenant
) -> None:
    path = f"{PATH}/{id_of(tenant.api_key)}"
    answer = await client.post(f"{path}/rotate", json={"overlap_hours": 2}, headers=tenant.admin)
    new = answer.json()
    assert (answer.status_code, new["name"], set(new["scopes"])) == (201, "test", {scope.value for scope in Scope})
    old = new["replaces"]
    assert (old["replaced_by"], old["state"], old["yours"], new["expires_at"]) == (new["id"], "works", True, None)
    left = datetime.fromisoformat(old["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=1.9) < left <= timedelta(hours=2)
    for key in (tenant.admin, bearer(new["api_key"])):
        assert (await client.get(PATH, headers=key)).status_code == 200
    again = await client.post(f"{path}/rotate", headers=tenant.admin)
    assert (again.status_code, again.json()["code"]) == (409, "api_key_rotated")
    at_once = await client.post(f"{PATH}/{new['id']}/rotate", json={"overlap_hours": 0}, headers=tenant.admin)
    assert at_once.json()["replaces"]["state"] == "revoked"
    assert (await client.get(PATH, headers=bearer(new["api_key"]))).status_code == 401


async def test_of_many_rotations_at_once_one_succeeds(client: httpx.AsyncClient, tenant: Tenant) -> None:
    made = await make(client, tenant.admin, "read")
    rotations = (client.post(f"{PATH}/{made['id']}/rotate", headers=tenant.admin) for _ in range(4))
    answers = await asyncio.gather(*rotations)
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert len(await listed(client, tenant)) == 3


async def test_the_last_key_that_can_make_keys_is_kept(
    client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant, neighbour: Tenant
) -> None:
    """Others' keys, those without admin, expired, revoked and rotated ones are no help."""
    path = f"{PATH}/{id_of(tenant.api_key)}"

    async def refusal() -> tuple[int, str]:
        answer = await client.delete(path, headers=tenant.admin)
        return answer.status_code, answer.json().get("code")

    await make(client, tenant.admin, "read", "operator")
    expired = await make(client, tenant.admin, "admin")
    await owner.execute("UPDATE access.api_key SET expires_at = now() WHERE public_id = $1", expired["id"])
    assert await refusal() == (409, "last_admin_key")
    told = (await client.delete(path, headers=tenant.admin)).json()["message"]
    assert "Make another one with admin first, and revoke this one with that." in told
    new = (await client.post(f"{path}/rotate", headers=tenant.admin)).json()
    kept = await client.delete(f"{PATH}/{new['id']}", headers=tenant.admin)
    assert (kept.status_code, kept.json()["code"]) == (409, "last_admin_key"), "the other one ends with the overlap"
    assert (await client.delete(path, headers=bearer(new["api_key"]))).json()["state"] == "revoked"


async def test_two_that_revoke_each_other_leave_one(client: httpx.AsyncClient, tenant: Tenant) -> None:
    other = await make(client, tenant.admin, "admin")
    answers = await asyncio.gather(
        client.delete(f"{PATH}/{other['id']}", headers=tenant.admin),
        client.delete(f"{PATH}/{id_of(tenant.api_key)}", headers=bearer(other["api_key"])),
    )
    codes = sorted(answer.status_code for answer in answers)
    assert codes in ([200, 409], [200, 401]), codes
    works = [(await client.get(PATH, headers=key)).status_code for key in (tenant.admin, bearer(other["api_key"]))]
    assert sorted(works) == [200, 401]


async def test_a_neighbours_key_is_not_there(client: httpx.AsyncClient, tenant: Tenant, neighbour: Tenant) -> None:
    """The table has no policy, since whoever looks a key up knows no workspace yet."""
    assert set(await listed(client, tenant)) == {id_of(tenant.api_key)}
    for key_id in (id_of(neighbour.api_key), "0" * 12):
        for method, path in [("DELETE", f"{PATH}/{key_id}"), ("POST", f"{PATH}/{key_id}/rotate")]:
            answer = await client.request(method, path, headers=tenant.admin)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_api_key"), path
    theirs = await listed(client, neighbour)
    assert [(key["state"], key["expires_at"], key["replaced_by"]) for key in theirs.values()] == [("works", None, None)]
    made = await make(client, neighbour.admin, "read")
    assert made["id"] not in await listed(client, tenant)


async def test_only_an_admin_is_let_in(client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant) -> None:
    lacking = [scope for scope in Scope if scope is not Scope.ADMIN]
    others = bearer(await add_api_key(owner, tenant.workspace, *lacking))
    for method, path in [("GET", PATH), ("POST", PATH), ("DELETE", f"{PATH}/x"), ("POST", f"{PATH}/x/rotate")]:
        body = {"name": "x", "scopes": ["read"]} if (method, path) == ("POST", PATH) else None
        for headers, status in [(others, 403), ({}, 401), (tenant.writer, 401)]:
            answer = await client.request(method, path, json=body, headers=headers)
            assert answer.status_code == status, (method, path)
