"""The lines of Python that README gives to a product, run as they stand there."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from libs.common.event_log import EventLog
from libs.common.events import TelemetryReceived
from libs.common.topics import Topic
from tests.integration.ingest.conftest import Start, Tenant, events

README = (Path(__file__).parents[3] / "README.md").read_text()


async def test_a_product_that_does_as_readme_says_is_understood(start: Start, log: EventLog, tenant: Tenant) -> None:
    running = await start()
    (lines,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    ours = lines.replace('"…"', repr(tenant.write_key)).replace('"http://127.0.0.1:8080"', repr(running.url))
    assert ours.count(tenant.write_key) == ours.count(running.url) == 1

    def send() -> None:
        names: dict[str, object] = {}
        exec(ours, names)
        names["client"].shutdown()  # type: ignore[attr-defined]

    await asyncio.to_thread(send)
    received = [event for event in await events(log, Topic.TELEMETRY) if isinstance(event, TelemetryReceived)]
    by_event = {event.event: event for event in received}
    assert set(by_event) == {"$identify", "$group", "Report Exported"}
    assert {event.user_id for event in received} == {"user-7"}
    assert by_event["$group"].account_id == "customer-42"
    assert json.loads(bytes(by_event["$group"].traits))["arr"] == 48000
