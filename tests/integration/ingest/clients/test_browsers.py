"""Clients of browsers, unmodified, in Chromium, on pages of another site: every call arrives and counts once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode

import asyncpg
import httpx

from libs.common.event_log import EventLog
from libs.common.events import TelemetryReceived
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.integration.ingest.clients.chromium import Chromium, Exchange, Page
from tests.integration.ingest.clients.compatibility_page import must_say, row
from tests.integration.ingest.clients.health import Health
from tests.integration.ingest.clients.install import javascript_client
from tests.integration.ingest.clients.write_keys import add_write_key
from tests.integration.ingest.conftest import Start, Tenant, events

CALLS: Mapping[str, Mapping[str, str]] = {
    "segment": {
        "identify": "$identify",
        "group": "$group",
        "track": "Report Exported",
        "page": "Page Viewed",
        "screen": "Screen Viewed",
        "alias": "$alias",
    },
    "rudderstack": {
        "identify": "$identify",
        "group": "$group",
        "track": "Report Exported",
        "page": "Page Viewed",
        "alias": "$alias",
    },
    "jitsu": {"identify": "$identify", "group": "$group", "track": "Report Exported", "page": "Page Viewed"},
}
"""Everything that each client can say, its page says once; and what becomes of it."""
PACKAGES = {"segment": "@segment/analytics-next", "rudderstack": "@rudderstack/analytics-js", "jitsu": "@jitsu/js"}
COME_BACK = ("segment", "rudderstack")
"""Jitsu's client sends once, and tells the product."""
SENDING = {
    "segment": "one request per call, a batch when the page is closed",
    "rudderstack": "one request per call, a beacon when the page is closed",
    "jitsu": "one request per call",
}
TRACK = "void analytics.track('Report Exported')"
LOST = None
"""Ingest answered, and the answer did not come back."""
QUOTA_EVENTS_PER_S = 10
FLOOD_EVENTS = 15 * QUOTA_EVENTS_PER_S
"""Ten seconds' worth may come at once; the rest is owed for five seconds, longer than anybody waits by himself."""


async def test_every_call_arrives_once_and_counts_for_the_account_of_its_user(
    start: Start, log: EventLog, tenant: Tenant, chromium: Chromium, site: str, health: Health
) -> None:
    """And nobody else is asked for anything."""
    running = await start()
    pages = await opened(chromium, site, running.url, tenant.write_key, clients=CALLS)
    await asyncio.gather(*(page.run("callAll()") for page in pages.values()))
    received = await arrived(log, sum(map(len, CALLS.values())))
    await health.caught_up()
    for client, calls in CALLS.items():
        of_user = [event for event in received if event.user_id == f"{client} user"]
        assert Counter(event.event for event in of_user) == Counter(calls.values()), client
        assert await health.usage(f"{client} account") == Counter(calls.values())
        statuses = {(exchange.method, exchange.status) for exchange in between(pages[client], running.url)}
        settings = {("GET", 200)} if client in COME_BACK else set()
        assert statuses == settings | {("OPTIONS", 204), ("POST", 200)}, client
        assert pages[client].errors == []
        assert [
            exchange.url for exchange in pages[client].exchanges if not exchange.url.startswith((site, running.url))
        ] == []
    must_say(
        row(javascript_client(PACKAGES[client]), ", ".join(calls), SENDING[client]) for client, calls in CALLS.items()
    )


async def test_a_refusal_for_good_is_asked_once_and_one_for_now_comes_back(
    start: Start, log: EventLog, tenant: Tenant, chromium: Chromium, site: str, owner: asyncpg.Connection
) -> None:
    running = await start(KIZASHI_INGEST_APPEND_DEADLINE_SECONDS="0.5", KIZASHI_INGEST_KEY_CACHE_SECONDS="0")
    revoked, elsewhere = await add_write_key(owner, tenant), await add_write_key(owner, tenant)
    small = await add_write_key(owner, tenant, QUOTA_EVENTS_PER_S)
    keys = {
        401: revoked.key,
        403: elsewhere.key,
        429: small.key,
        503: tenant.write_key,
        LOST: tenant.write_key,
    }
    opening = [
        opened(chromium, site, running.url, key, clients=CALLS if case == 403 else COME_BACK)
        for case, key in keys.items()
    ]
    pages = dict(zip(keys, await asyncio.gather(*opening), strict=True))
    refused, come_back = [pages[case] for case in (401, 403, 429, 503)], [pages[case] for case in (429, 503, LOST)]

    async def all_refused() -> bool:
        return all(any(statuses(page, running.url)) for of_case in refused for page in of_case.values())

    await owner.execute("UPDATE ingest.write_key SET revoked_at = now() WHERE key_id = $1", revoked.key_id)
    await owner.execute(
        "UPDATE ingest.write_key SET origins = ARRAY['https://elsewhere.example'] WHERE key_id = $1", elsewhere.key_id
    )
    await flood(running.url, small.key)
    async with owner.transaction():
        await owner.execute("LOCK TABLE log.topic_partition IN ACCESS EXCLUSIVE MODE")
        await asyncio.gather(*(page.run(TRACK) for of_case in refused for page in of_case.values()))
        await eventually(all_refused, what="a refusal to each")
    for page in pages[LOST].values():
        await page.lose_an_answer(running.url)
        await page.run(TRACK)

    async def all_taken() -> bool:
        return all(200 in statuses(page, running.url) for of_case in come_back for page in of_case.values())

    await eventually(all_taken, within_seconds=20, what="200 to those refused for now")
    for client in COME_BACK:
        told = {case: statuses(pages[case][client], running.url) for case in (401, 429, 503, LOST)}
        assert {case: (of_case[0], of_case[-1]) for case, of_case in told.items()} == {
            401: (401, 401),
            429: (429, 200),
            503: (503, 200),
            LOST: (LOST, 200),
        }, client
        assert told[401] == [401], client
    for client, page in pages[403].items():
        assert statuses(page, running.url) == [403], client
    exported = len(come_back) * len(COME_BACK)
    received = await arrived(log, FLOOD_EVENTS + exported)
    assert Counter(event.event for event in received) == {"Flood": FLOOD_EVENTS, "Report Exported": exported}
    must_say(
        row(
            javascript_client(PACKAGES[client]),
            "one request",
            *(waits(pages[case][client], running.url) for case in (429, 503)),
            "sent again",
        )
        for client in COME_BACK
    )


async def test_what_a_page_has_not_sent_yet_leaves_when_it_is_closed(
    start: Start, log: EventLog, tenant: Tenant, chromium: Chromium, site: str
) -> None:
    running = await start()
    pages = await opened(chromium, site, running.url, tenant.write_key, when_left="1")
    for page in pages.values():
        await page.run("void analytics.track('Tab Closed')")
        assert statuses(page, running.url) == []
        await page.close()
    received = await arrived(log, len(pages))
    assert {event.event for event in received} == {"Tab Closed"}


async def test_a_key_for_one_origin_refuses_the_pages_of_others_in_words_that_they_can_read(
    start: Start, log: EventLog, tenant: Tenant, chromium: Chromium, site: str, owner: asyncpg.Connection
) -> None:
    await owner.execute("UPDATE ingest.write_key SET origins = $1", [site])
    running = await start()
    pages = await opened(chromium, site, running.url, tenant.write_key)
    for page in pages.values():
        await page.run(TRACK)
    await arrived(log, len(pages))
    elsewhere = site.replace("localhost", "127.0.0.1")
    stranger = await chromium.open(
        f"{elsewhere}/segment?{urlencode({'address': running.url, 'key': tenant.write_key})}"
    )
    send = f"fetch('{running.url}/v1/track?writeKey={tenant.write_key}', {{ method: 'POST', body: '{{}}' }})"
    refusal = await stranger.run(f"{send}.then(async (answer) => [answer.status, await answer.json()])")
    assert (refusal[0], refusal[1]["code"]) == (403, "origin_not_allowed")
    assert elsewhere in refusal[1]["message"]
    assert {(exchange.method, exchange.status) for exchange in between(stranger, running.url)} == {
        ("GET", 403),
        ("POST", 403),
    }


async def opened(
    chromium: Chromium, site: str, address: str, key: str, clients: Iterable[str] = COME_BACK, **options: str
) -> dict[str, Page]:
    """The page of each client, when the client is ready."""
    query = urlencode({"address": address, "key": key, **options})

    async def page_of(client: str) -> Page:
        page = await chromium.open(f"{site}/{client}?{query}")
        await page.run("ready")
        return page

    return dict(zip(clients, await asyncio.gather(*map(page_of, clients)), strict=True))


def between(page: Page, address: str) -> list[Exchange]:
    return [exchange for exchange in page.exchanges if exchange.url.startswith(address)]


def posts(page: Page, address: str) -> list[Exchange]:
    return [exchange for exchange in between(page, address) if exchange.method == "POST"]


def statuses(page: Page, address: str) -> list[int | None]:
    return [exchange.status for exchange in posts(page, address)]


def waits(page: Page, address: str) -> str:
    first, second = posts(page, address)[:2]
    waited = second.asked_at - first.answered_at
    return "waits `Retry-After`" if waited >= int(first.headers["retry-after"]) else "own back-off"


async def flood(address: str, key: str) -> None:
    call = {"type": "track", "event": "Flood", "userId": "flood"}
    batch = [{**call, "messageId": f"flood {number}"} for number in range(FLOOD_EVENTS)]
    async with httpx.AsyncClient(base_url=address, headers={"x-write-key": key}) as client:
        assert (await client.post("/v1/batch", json={"batch": batch})).status_code == 200


async def arrived(log: EventLog, count: int) -> list[TelemetryReceived]:
    """All events of the log, copies aside, once it holds that many; no more than that."""

    async def enough() -> dict[str, TelemetryReceived]:
        found = [event for event in await events(log, Topic.TELEMETRY) if isinstance(event, TelemetryReceived)]
        by_id = {event.id: event for event in found}
        return by_id if len(by_id) >= count else {}

    received = await eventually(enough, within_seconds=20, what=f"{count} events")
    assert len(received) == count
    return list(received.values())
