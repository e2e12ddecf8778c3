"""Node's clients, unmodified: only the host is changed, every call arrives and counts once, whatever ingest answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

import asyncpg

from libs.common.event_log import EventLog
from libs.common.events import TelemetryReceived
from libs.common.topics import Topic
from tests.integration.ingest.clients.compatibility_page import must_say, row
from tests.integration.ingest.clients.health import Health
from tests.integration.ingest.clients.install import javascript_client
from tests.integration.ingest.clients.javascript_scripts import NodeJob, Told, Workshop
from tests.integration.ingest.clients.proxy import Proxy, Trouble, Way, no_trouble
from tests.integration.ingest.clients.troubles import (
    Silence,
    body_cut_short,
    first_answer_lost,
    first_over_quota,
    unknown_encoding,
)
from tests.integration.ingest.clients.write_keys import add_write_key
from tests.integration.ingest.conftest import Start, Tenant, events

TRACKS = 40
"""Several batches of Segment's 15 and of RudderStack's 20."""
SEGMENT_FAMILY = ("identify", "group", *("track" for _ in range(TRACKS)), "page", "screen", "alias")
CALLS = {
    "segment": SEGMENT_FAMILY,
    "rudderstack": SEGMENT_FAMILY,
    "jitsu": ("identify", "group", *("track" for _ in range(TRACKS)), "page"),
    "cloudevents": tuple("track" for _ in range(TRACKS)),
}
"""Everything that each client can say."""
PACKAGES = {
    "segment": "@segment/analytics-node",
    "rudderstack": "@rudderstack/rudder-sdk-node",
    "jitsu": "@jitsu/js",
    "cloudevents": "cloudevents",
}
EVENTS = {
    "identify": "$identify",
    "group": "$group",
    "track": "Report Exported",
    "page": "Page Viewed",
    "screen": "Screen Viewed",
    "alias": "$alias",
}
"""What becomes of the calls."""
SENDING = {
    "segment": "batches",
    "rudderstack": "batches, gzip",
    "jitsu": "one request per call",
    "cloudevents": "binary, structured, batch",
}
"""As the page says it; what each script does."""
NAMED_BY = {"segment": None, "rudderstack": None, "jitsu": "groupId", "cloudevents": "subject"}
"""What tells a track's account. Nothing in a call of the first two does: it is the group of its user."""

BODY_LIMIT_BYTES = 16 * 1024
QUOTA_EVENTS_PER_S = 10
FLOOD_EVENTS = 13 * QUOTA_EVENTS_PER_S
"""Ten seconds' worth may come at once; the rest is owed for three seconds."""
FOR_GOOD: Mapping[str, Trouble] = {
    "400": body_cut_short,
    "401": no_trouble,  # its key is unknown
    "413": no_trouble,  # its event is too large
    "415": unknown_encoding,
}
FOR_NOW = ("429", "503", "lost")
COMES_BACK = ("segment", "rudderstack")
"""Jitsu sends once, and tells the product."""


async def test_every_call_arrives_once_and_counts_for_the_account_of_its_user(
    start: Start, log: EventLog, tenant: Tenant, workshop: Workshop, health: Health
) -> None:
    running = await start()
    told = await asyncio.gather(
        *(
            workshop.drive(
                client,
                [NodeJob("all", running.url, tenant.write_key, f"{client} user", f"{client} account", calls)],
            )
            for client, calls in CALLS.items()
        )
    )
    received = [event for event in await events(log, Topic.TELEMETRY) if isinstance(event, TelemetryReceived)]
    await health.caught_up()
    for (client, calls), done in zip(CALLS.items(), told, strict=True):
        assert done == {"all": Told(len(calls), [])}, client
        of_user = [event for event in received if event.user_id == f"{client} user"]
        said = Counter(EVENTS[call] for call in calls)
        assert Counter(event.event for event in of_user) == said, client
        assert await health.usage(f"{client} account") == said
        assert {event.account_rule for event in of_user if event.event == "Report Exported"} == {NAMED_BY[client]}
    assert len(received) == len({event.id for event in received}) == sum(map(len, CALLS.values()))
    must_say(row(name(client), ", ".join(dict.fromkeys(calls)), SENDING[client]) for client, calls in CALLS.items())


async def test_a_refusal_for_good_is_asked_once_and_one_for_now_comes_back_or_is_told(
    start: Start,
    proxy: Proxy,
    log: EventLog,
    owner: asyncpg.Connection,
    tenant: Tenant,
    workshop: Workshop,
) -> None:
    running = await start(
        KIZASHI_INGEST_BODY_LIMIT_BYTES=str(BODY_LIMIT_BYTES),
        KIZASHI_INGEST_SINGLE_BODY_LIMIT_BYTES=str(BODY_LIMIT_BYTES),
        KIZASHI_INGEST_APPEND_DEADLINE_SECONDS="0.5",
    )
    proxy.target = running.url
    clients = (*COMES_BACK, "jitsu")
    silence = Silence(expected=len(clients))
    small = {client: (await add_write_key(owner, tenant, QUOTA_EVENTS_PER_S)).key for client in clients}
    over_quota = {client: first_over_quota(running.url, small[client], FLOOD_EVENTS) for client in clients}
    ways = {client: ways_of(client, proxy, silence, over_quota[client]) for client in clients}
    async with asyncio.TaskGroup() as all_at_once:
        all_at_once.create_task(silence.happen(owner))
        driving = {
            client: all_at_once.create_task(
                workshop.drive(client, jobs(client, ways[client], tenant.write_key, small[client]))
            )
            for client in clients
        }
    received = [event for event in await events(log, Topic.TELEMETRY) if isinstance(event, TelemetryReceived)]
    for client in clients:
        told = {case: way.told for case, way in ways[client].items()}
        errors = {case: len(done.errors) for case, done in driving[client].result().items()}
        assert {case: told[case] for case in FOR_GOOD} == {case: [int(case)] for case in FOR_GOOD}, client
        assert [told[case][0] for case in FOR_NOW] == [429, 503, None], client
        comes_back = client in COMES_BACK
        assert errors == {case: 0 if comes_back and case in FOR_NOW else 1 for case in told}, client
        if not comes_back:
            assert [len(told[case]) for case in FOR_NOW] == [1, 1, 1], client
            continue
        assert [told[case][-1] for case in FOR_NOW] == [200, 200, 200], client
        ids = [{event.id for event in received if event.user_id == user(client, case)} for case in FOR_NOW]
        assert [len(of_case) for of_case in ids] == [1, 1, 1], client
    must_say(
        row(
            name(client),
            "one request",
            *(waits(ways[client][case]) for case in ("429", "503")),
            "sent again" if client in COMES_BACK else "told",
        )
        for client in clients
    )


def name(client: str) -> str:
    """As the page calls it; there is a Python client that is named as one of Node's."""
    return javascript_client(PACKAGES[client]) + (" (Node)" if client == "cloudevents" else "")


def waits(way: Way) -> str:
    if len(way.seen) == 1:
        return "told"
    first, second = way.seen[:2]
    assert first.answer is not None
    waited = second.asked_at - first.answered_at
    return "waits `Retry-After`" if waited >= int(first.answer.headers["Retry-After"]) else "own back-off"


def user(client: str, case: str) -> str:
    return f"{client}, {case}"


def ways_of(client: str, proxy: Proxy, silence: Silence, over_quota: Trouble) -> dict[str, Way]:
    once_silence_is_over = {**FOR_GOOD, "429": over_quota, "lost": first_answer_lost}
    troubles = {case: silence.survived_by(trouble) for case, trouble in once_silence_is_over.items()}
    troubles["503"] = silence.met_by_the_first
    return {case: proxy.way(f"{client}-{case}", trouble) for case, trouble in troubles.items()}


def jobs(client: str, ways: Mapping[str, Way], key: str, small_key: str) -> list[NodeJob]:
    keys = {"401": "kzw_unknown", "429": small_key}
    return [
        NodeJob(
            case,
            way.url,
            keys.get(case, key),
            user=user(client, case),
            account=f"account of {client}, {case}",
            calls=("track",),
            padding="x" * BODY_LIMIT_BYTES if case == "413" else "",
        )
        for case, way in ways.items()
    ]
