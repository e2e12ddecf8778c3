"""README's snippets for Node and for pages, each run as it stands there, with another address and key."""

from __future__ import annotations

import asyncio
from collections import Counter

from libs.common.event_log import EventLog
from libs.common.events import TelemetryReceived
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.integration.ingest.clients.chromium import Chromium
from tests.integration.ingest.clients.javascript_scripts import Workshop
from tests.integration.ingest.clients.site import served
from tests.integration.ingest.clients.snippets import pointed_at, snippet
from tests.integration.ingest.conftest import Start, Tenant, events

IN_NODE = ("node-segment", "node-rudderstack", "node-jitsu", "node-cloudevents")
IN_PAGES = ("page-segment", "page-rudderstack")


async def test_each_says_who_belongs_to_the_account_and_what_happened(
    start: Start, log: EventLog, tenant: Tenant, workshop: Workshop, chromium: Chromium
) -> None:
    running = await start()
    for name in (*IN_NODE, *IN_PAGES):
        lines = pointed_at(snippet(name), running.url, tenant.write_key)
        (workshop.folder / f"{name}.mjs").write_text(lines)
    await asyncio.gather(*(workshop.run(f"{name}.mjs") for name in IN_NODE))
    await hold(log, Counter({"$identify": 3, "$group": 3, "Report Exported": 4}))
    scripts = await asyncio.gather(*(workshop.bundled(f"{name}.mjs") for name in IN_PAGES))
    async with served(dict(zip(IN_PAGES, scripts, strict=True))) as port:
        for name in IN_PAGES:
            await chromium.open(f"http://localhost:{port}/{name}")
        await hold(log, Counter({"$identify": 5, "$group": 5, "Report Exported": 6}))


async def hold(log: EventLog, said: Counter[str]) -> None:
    """All that was said; a CloudEvent names its account itself."""

    async def received() -> list[TelemetryReceived]:
        found = [event for event in await events(log, Topic.TELEMETRY) if isinstance(event, TelemetryReceived)]
        return found if len(found) >= said.total() else []

    found = await eventually(received, what=f"{said}")
    assert Counter(event.event for event in found) == said
    assert {event.user_id for event in found} == {"user-7"}
    assert {event.account_id for event in found} - {None} == {"customer-42"}
