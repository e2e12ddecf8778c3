"""What browser SDKs ask before they send anything."""

from __future__ import annotations

import base64
from typing import Any

import asyncpg
import httpx
import pytest

from tests.integration.ingest.conftest import Tenant

PAGE = {"origin": "https://shop.example"}


def segment(key: str) -> str:
    return f"/v1/projects/{key}/settings"


@pytest.mark.parametrize("slash", ["", "/"])
async def test_analytics_next_is_told_to_send_everything_here_and_nothing_elsewhere(
    client: httpx.AsyncClient, tenant: Tenant, slash: str
) -> None:
    answer = await client.get(segment(tenant.write_key) + slash, headers={**PAGE, "host": "events.example:8443"})
    assert answer.status_code == 200
    here = {"apiKey": tenant.write_key, "apiHost": "events.example:8443/v1", "protocol": "http"}
    assert answer.json() == {"integrations": {"Segment.io": here}, "metrics": {"sampleRate": 0}}
    assert answer.headers["access-control-allow-origin"] == PAGE["origin"]
    assert answer.headers["cache-control"] == "private, max-age=60"


@pytest.mark.parametrize(
    ("forwarded", "protocol"),
    [("https", "https"), ("HTTPS, http", "https"), ("http", "http"), ("gopher", "http"), ("", "http")],
)
async def test_the_browser_goes_on_with_the_protocol_that_it_came_by(
    client: httpx.AsyncClient, tenant: Tenant, forwarded: str, protocol: str
) -> None:
    answer = await client.get(segment(tenant.write_key), headers={"x-forwarded-proto": forwarded})
    assert answer.json()["integrations"]["Segment.io"]["protocol"] == protocol


def _basic(key: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}


@pytest.mark.parametrize("slash", ["", "/"])
async def test_rudder_is_told_that_the_source_is_there_and_has_no_destinations(
    client: httpx.AsyncClient, tenant: Tenant, slash: str
) -> None:
    asked = f"/sourceConfig{slash}?p=npm&v=3.0&build=modern&lockIntegrationsVersion=false"
    by_address = await client.get(f"{asked}&writeKey={tenant.write_key}", headers=PAGE)
    by_header = await client.get(asked, headers=_basic(tenant.write_key))
    assert by_address.status_code == by_header.status_code == 200
    assert by_address.json() == by_header.json()
    off: dict[str, Any] = {"enabled": False}
    assert by_address.json()["source"] == {
        "id": str(tenant.source),
        "name": f"Source {tenant.source}",
        "workspaceId": str(tenant.workspace),
        "writeKey": tenant.write_key,
        "enabled": True,
        "config": {"statsCollection": {"errors": off, "metrics": off}},
        "destinations": [],
    }
    assert by_address.headers["access-control-allow-origin"] == PAGE["origin"]
    assert by_address.headers["cache-control"] == "private, max-age=60"


async def test_a_key_that_is_not_ours_is_final(client: httpx.AsyncClient, tenant: Tenant) -> None:
    for path, code in [
        (segment("kzw_unknown"), "unknown_write_key"),
        (segment("%00"), "unknown_write_key"),
        ("/sourceConfig?writeKey=kzw_unknown", "unknown_write_key"),
        ("/sourceConfig", "missing_write_key"),
    ]:
        answer = await client.get(path, headers=PAGE)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert answer.headers["access-control-allow-origin"] == PAGE["origin"]
        assert "cache-control" not in answer.headers


async def test_a_page_that_the_key_is_not_for_learns_it_at_once(
    client: httpx.AsyncClient, owner: asyncpg.Connection, tenant: Tenant
) -> None:
    await owner.execute("UPDATE ingest.write_key SET origins = $1", ["https://app.example"])
    for path in (segment(tenant.write_key), f"/sourceConfig?writeKey={tenant.write_key}"):
        refused = await client.get(path, headers=PAGE)
        assert (refused.status_code, refused.json()["code"]) == (403, "origin_not_allowed")
        assert (await client.get(path, headers={"origin": "https://app.example"})).status_code == 200
