"""`kizashi keys`, `api-keys` and `sources` against a running ingest, as people and scripts call them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from cli.__main__ import main
from cli.api_keys import SCOPES
from deploy.local.postgres import EmbeddedPostgres
from libs.common.api_keys import Scope
from libs.common.event_log import EventLog
from libs.common.event_log_open import event_log
from libs.common.events import SourceWentLive
from libs.common.topics import PARTITIONS, Topic
from services.ingest.bootstrap import Installed, install
from tests.integration.ingest.conftest import events
from tests.integration.ingest.one_process import OneProcess, ingest_process

CALL = {"event": "Report Exported", "userId": "u1"}
Kizashi = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture(scope="module")
def ingest(postgres: EmbeddedPostgres) -> Iterator[OneProcess]:
    """It forgets keys at once."""
    with ingest_process(postgres, KIZASHI_INGEST_KEY_CACHE_SECONDS="0") as process:
        yield process


@pytest.fixture
def url(ingest: OneProcess) -> str:
    return ingest.url


@pytest.fixture
async def tenant(ingest: OneProcess, request: pytest.FixtureRequest) -> Installed:
    """A workspace of the test's own."""
    return await install(ingest.database.owner_url, request.node.name, "app")


@pytest.fixture
async def log(ingest: OneProcess) -> AsyncIterator[EventLog]:
    opened = event_log(ingest.database.url, name="test")
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def kizashi(ingest: OneProcess, tenant: Installed, monkeypatch: pytest.MonkeyPatch) -> Kizashi:
    """Calls it with a key of all scopes; ``typed`` is what somebody types."""
    monkeypatch.setenv("KIZASHI_CLI_INGEST_URL", ingest.url)
    monkeypatch.setenv("KIZASHI_CLI_API_KEY", tenant.api_key)

    async def call(*words: str, typed: str = "", fails: bool = False) -> Result:
        result = await asyncio.to_thread(CliRunner().invoke, main, words, input=typed)
        assert (result.exit_code != 0) is fails, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return call


async def works(url: str, write_key: str, origin: str | None = None) -> int:
    async with httpx.AsyncClient(base_url=url) as client:
        headers = {"x-write-key": write_key} | ({"origin": origin} if origin else {})
        return (await client.post("/v1/track", json=CALL, headers=headers)).status_code


async def test_a_write_keys_life(kizashi: Kizashi, url: str, tenant: Installed) -> None:
    page = "https://app.example.com"
    source = str(tenant.source)
    made = await kizashi("keys", "create", "--source", source, "--name", "web", "--expires", "90d", "--origin", page)
    first = made.stdout.removesuffix("\n")
    key_id = first.split("_")[1]
    assert made.stdout == f"kzw_{key_id}_{first[-32:]}\n", "nothing but the key, for a script"
    assert made.stderr == f"This is write key {key_id}, web, of source {source}; it is shown this once:\n"
    assert (await works(url, first, page), await works(url, first, "https://evil.example")) == (200, 403)

    changed = await kizashi("keys", "change", first, "--origin", "any", "--events-per-s", "500")
    assert changed.stdout.endswith(" UTC, 500 events a second, for every page.\n")
    assert await works(url, first, "https://evil.example") == 200
    freed = await kizashi("keys", "change", key_id, "--expires", "never", "--events-per-s", "default")
    assert freed.stdout == f"Write key {key_id}, web: without an end, the installation's quota, for every page.\n"

    rotated = await kizashi("keys", "rotate", key_id, "--overlap", "2h")
    second = rotated.stdout.removesuffix("\n")
    assert f"The old one, {key_id}, works until " in rotated.stderr
    assert "from then on whatever still shows it loses its events." in rotated.stderr
    assert (await works(url, first), await works(url, second)) == (200, 200)
    again = await kizashi("keys", "rotate", key_id, fails=True)
    assert f"Write key {key_id} was rotated to {second.split('_')[1]} already; rotate that one." in again.stderr

    kept = await kizashi("keys", "revoke", key_id, typed="n\n", fails=True)
    assert "loses its events from now on" in kept.stderr
    assert await works(url, first) == 200
    revoked = await kizashi("keys", "revoke", first, "--yes")
    assert revoked.stdout.startswith(f"Write key {key_id}, web, is revoked since ")
    assert (await works(url, first), await works(url, second)) == (401, 200)

    table = (await kizashi("keys", "list")).stdout
    assert [line.split()[:4] for line in table.splitlines()[2:]] == [
        [key_id, source, "web", "revoked"],
        [second.split("_")[1], source, "web", "works"],
    ]
    assert first[-32:] not in table
    known = json.loads((await kizashi("keys", "list", "--source", source, "--json")).stdout)
    assert [key["state"] for key in known] == ["works", "revoked", "works"]
    third = json.loads((await kizashi("keys", "create", "--source", source, "--json")).stdout)
    at_once = json.loads((await kizashi("keys", "rotate", third["id"], "--overlap", "0", "--json")).stdout)
    assert (await works(url, third["write_key"]), await works(url, at_once["write_key"])) == (401, 200)


async def test_what_is_written_wrongly_is_a_sentence(kizashi: Kizashi, tenant: Installed) -> None:
    source = str(tenant.source)
    for words, told in [
        (("create", "--source", "999"), "ingest answers 404: There is no source 999."),
        (("create", "--source", source, "--expires", "soon"), "'soon' is no moment: write 90d, 12h, 2027-01-31"),
        (("create", "--source", source, "--expires", "2020-01-31"), "must lie in the future"),
        (("create", "--source", source, "--origin", "https://a/"), "is no origin: write scheme://host"),
        (("create", "--source", source, "--events-per-s", "0"), "0 is not in the range"),
        (("rotate", "nobody", "--overlap", "1w"), "'1w' is no length of time: write 30m, 24h, 7d, or 0."),
        (("revoke", "kzw_0123456789ab_", "--yes"), "There is no write key 0123456789ab; `kizashi keys list`"),
        (("change", "any"), "Say what to change: --expires, --events-per-s or --origin."),
    ]:
        said = await kizashi("keys", *words, fails=True)
        assert told in said.stderr, said.stderr
        assert said.stdout == ""


def test_the_scopes_are_those_of_the_services() -> None:
    assert list(SCOPES) == [scope.value for scope in Scope]


async def test_an_api_keys_life(
    kizashi: Kizashi,
    tenant: Installed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = tenant.api_key.split("_")[1]
    last = await kizashi("api-keys", "revoke", mine, "--yes", fails=True)
    assert "Make another one with admin first" in last.stderr
    day = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    words = ("--name", "ops", "--scope", "admin", "--scope", "read", "--expires", day, "--json")
    made = json.loads((await kizashi("api-keys", "create", *words)).stdout)
    assert (made["scopes"], made["expires_at"]) == (["admin", "read"], f"{day}T00:00:00Z")
    rotated = await kizashi("api-keys", "rotate", mine, "--overlap", "1h")
    assert f"The old one, {mine}, works until " in rotated.stderr
    assert "so put the new one into KIZASHI_CLI_API_KEY" in rotated.stderr
    monkeypatch.setenv("KIZASHI_CLI_API_KEY", rotated.stdout.strip())
    await kizashi("api-keys", "revoke", mine, typed="y\n")
    table = (await kizashi("api-keys", "list")).stdout.splitlines()
    assert [(line.split()[0], line.split()[1], line.split()[-1]) for line in table[1:]] == [
        (mine, "first", rotated.stdout.split("_")[1]),
        (made["id"], "ops", "–"),
        (rotated.stdout.split("_")[1], "first", "yours"),
    ]
    monkeypatch.setenv("KIZASHI_CLI_API_KEY", tenant.api_key)
    assert "unknown, expired or revoked" in (await kizashi("sources", fails=True)).stderr


async def test_a_source_goes_live_when_somebody_means_it(kizashi: Kizashi, log: EventLog) -> None:
    made = await kizashi("sources", "create", "Mobile app")
    source = json.loads((await kizashi("sources", "--json")).stdout)[-1]
    assert (source["name"], source["state"]) == ("Mobile app", "importing")
    assert f"kizashi keys create --source {source['id']}" in made.stdout
    assert "does not count at all for an account that another source, a live one, knows too" in made.stdout
    asked = await kizashi("sources", "live", str(source["id"]), typed="\n", fails=True)
    assert "Is all of its history sent? There is no way back." in asked.stderr
    assert "Mobile app  importing" in (await kizashi("sources")).stdout
    assert (await kizashi("sources", "list")).stdout == (await kizashi("sources")).stdout
    assert (await kizashi("sources", "list", "--json")).stdout == (await kizashi("sources", "--json")).stdout
    assert "Mobile app, is importing" in (await kizashi("sources", "show", "Mobile app")).stdout
    key = await kizashi("keys", "create", "--source", "Mobile app")
    assert key.stdout.split("_")[1] in (await kizashi("keys", "list", "--source", "Mobile app")).stdout
    assert "There is no source Web; there are: " in (await kizashi("sources", "show", "Web", fails=True)).stderr
    live = await kizashi("sources", "live", str(source["id"]), typed="y\n")
    assert live.stdout.startswith(f"Source {source['id']}, Mobile app, is live since ")
    again = await kizashi("sources", "live", str(source["id"]), typed="y\n")
    assert "this tells it once more" in again.stderr
    assert live.stdout == again.stdout
    told = [one for one in await events(log, Topic.TELEMETRY) if isinstance(one, SourceWentLive)]
    assert [one.source for one in told] == [source["id"]] * 2 * PARTITIONS
