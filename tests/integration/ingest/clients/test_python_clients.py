"""Python clients, unmodified: only the host is changed, and every call arrives and counts for its account."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from libs.common.event_log import EventLog
from libs.common.events import TelemetryReceived
from libs.common.topics import Topic
from tests.integration.ingest.clients.compatibility_page import must_say, row
from tests.integration.ingest.clients.driving import CALLS, MODULES, Job, drive, run_python
from tests.integration.ingest.clients.health import Health
from tests.integration.ingest.clients.install import CLOUDEVENTS, HERE, PythonClient
from tests.integration.ingest.conftest import Start, Tenant, events

WAYS: Mapping[str, Mapping[str, Any]] = {
    "plain": {"gzip": False, "upload_interval": 0.05},
    "gzip": {"gzip": True, "upload_interval": 0.05},
    "one request per call": {"sync_mode": True},
}
"""Of sending: the options that make a client send so."""
EVENTS = ("$identify", "$group", "Report Exported", "Page Viewed", "Screen Viewed", "$alias")
"""What becomes of the calls."""
PROPERTIES = {"n": 1, "share": None, "when": "2026-01-02T03:04:05+09:00", "name": "月次レポート é"}
"""As products are understood that give a time, and a number that JSON does not have."""


async def test_every_call_arrives_once_and_counts_for_the_account_of_its_user(
    python_clients: None, start: Start, log: EventLog, tenant: Tenant, health: Health
) -> None:
    running = await start()
    jobs = {client: [_job(client, way, running.url, tenant.write_key) for way in WAYS] for client in MODULES}
    done = dict(zip(jobs, await asyncio.gather(*(drive(client, jobs[client]) for client in jobs)), strict=True))
    received = [event for event in await events(log, Topic.TELEMETRY) if isinstance(event, TelemetryReceived)]
    await health.caught_up()
    for client, way in ((client, way) for client in MODULES for way in WAYS):
        told, user = done[client][way], _user(client, way)
        of_user = {event.event: event for event in received if event.user_id == user}
        assert told.problems == []
        assert {name: event.id for name, event in of_user.items()} == {
            name: told.sent[call] for call, name in zip(CALLS, EVENTS, strict=True)
        }
        _is_what_was_said(of_user, user)
        assert await health.usage(f"account of {user}") == Counter(EVENTS)
    assert len(received) == await health.usage_total() == len(MODULES) * len(WAYS) * len(CALLS)
    must_say(row(str(client), ", ".join(CALLS), ", ".join(WAYS)) for client in MODULES)


def _user(client: PythonClient, way: str) -> str:
    return f"{client}, {way}"


def _job(client: PythonClient, way: str, host: str, key: str) -> Job:
    user = _user(client, way)
    return Job(way, host, key, user=user, account=f"account of {user}", options=WAYS[way])


def _is_what_was_said(of_user: dict[str, TelemetryReceived], user: str) -> None:
    """``python/segment_family.py`` says it."""
    identify, group, track, page, _, alias = (of_user[name] for name in EVENTS)
    assert json.loads(bytes(identify.traits)) == {
        "name": "山田 太郎",
        "weight": None,
        "since": "2026-01-02T03:04:05+09:00",
    }
    assert (group.account_id, group.account_rule) == (f"account of {user}", "group")
    assert json.loads(bytes(group.traits)) == {"name": "東京 GmbH", "seats": 5}
    assert (track.account_id, track.user_id) == (None, user)
    assert track.occurred_at == datetime(2026, 1, 1, 18, 4, 5, tzinfo=UTC)
    assert json.loads(bytes(track.properties)) == {**PROPERTIES, "padding": ""}
    assert json.loads(bytes(page.properties))["name"] == "Home"
    assert alias.previous_id == f"before-{user}"


async def test_cloud_events_arrive_in_every_mode_and_count_for_their_subject(
    python_clients: None, start: Start, log: EventLog, tenant: Tenant, health: Health
) -> None:
    """As the SDK and its documentation make and send them; their ``subject`` is the account, ``userid`` the user."""
    running = await start()
    job = {"url": f"{running.url}/api/v1/events", "key": tenant.write_key, "user": "山田", "account": "東京 GmbH"}
    printed = await run_python(CLOUDEVENTS, [str(HERE / "python" / "cloud_events.py")], json.dumps(job))
    assert json.loads(printed) == {"binary": 204, "structured": 204, "batch": 204}
    received = [event for event in await events(log, Topic.TELEMETRY) if isinstance(event, TelemetryReceived)]
    ids = ["binary", "structured", "batch-0", "batch-1", "batch-2"]
    assert sorted(event.id for event in received) == sorted(f"/reports {name}" for name in ids)
    for event in received:
        assert (event.user_id, event.account_id, event.account_rule) == ("山田", "東京 GmbH", "subject")
        assert event.occurred_at == datetime(2026, 1, 1, 18, 4, 5, tzinfo=UTC)
        assert json.loads(bytes(event.properties)) == PROPERTIES
    await health.caught_up()
    assert await health.usage("東京 GmbH") == Counter({"Report Exported": len(ids)})
    must_say([row(f"{CLOUDEVENTS} (Python)", "track", "binary, structured, batch")])
