"""README's snippets for Python and the shell, each run as it stands there, with another address and key."""

from __future__ import annotations

import asyncio

import httpx

from libs.common.event_log import EventLog
from libs.common.events import TelemetryReceived
from libs.common.topics import Topic
from tests.integration.ingest.clients.driving import run, run_python
from tests.integration.ingest.clients.install import CLOUDEVENTS, RUDDER, SEGMENT
from tests.integration.ingest.clients.snippets import pointed_at, snippet, snippets
from tests.integration.ingest.clients.test_snippets_javascript import IN_NODE, IN_PAGES
from tests.integration.ingest.conftest import Start, Tenant, events

IN_PYTHON = {client.name: client for client in (SEGMENT, RUDDER, CLOUDEVENTS)}
LINES = 12
CALLED = {"$identify", "$group", "Report Exported"}


async def _new_source(url: str, name: str, tenant: Tenant) -> tuple[int, str]:
    """Its number and a write key."""
    async with httpx.AsyncClient(base_url=url, headers=tenant.admin) as admin:
        source = (await admin.post("/v1/sources", json={"name": name})).json()["id"]
        key = (await admin.post(f"/v1/sources/{source}/write-keys", json={})).json()["write_key"]
        return source, key


async def _run(name: str, url: str, key: str) -> None:
    text = pointed_at(snippet(name), url, key)
    if name in IN_PYTHON:
        await run_python(IN_PYTHON[name], ["-c", text], "")
    else:
        await run(["bash", "-c", text], {}, "", within_seconds=10)


async def test_each_says_who_belongs_to_the_account_and_what_happened(
    python_clients: None, start: Start, log: EventLog, tenant: Tenant
) -> None:
    running = await start()
    names = [*IN_PYTHON, "curl"]
    sources = {name: await _new_source(running.url, name, tenant) for name in names}
    await asyncio.gather(*(_run(name, running.url, sources[name][1]) for name in names))
    received = [event for event in await events(log, Topic.TELEMETRY) if isinstance(event, TelemetryReceived)]
    for name in names:
        of_source = {event.event: event for event in received if event.source == sources[name][0]}
        assert set(of_source) == ({"Report Exported"} if name == CLOUDEVENTS.name else CALLED), name
        assert {event.user_id for event in of_source.values()} == {"user-7"}
        assert {event.account_id for event in of_source.values()} - {None} == {"customer-42"}
    assert len(received) == 3 * len(CALLED) + 1


def test_every_snippet_is_run_and_read_at_a_glance() -> None:
    assert set(snippets()) == {*IN_PYTHON, "curl", *IN_NODE, *IN_PAGES}
    assert {name: text for name, text in snippets().items() if text.count("\n") > LINES} == {}
