"""What Python clients do with each answer: a refusal for good is asked once, one for now comes back and counts once."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Mapping

import asyncpg

from libs.common.event_log import EventLog
from libs.common.topics import Topic
from tests.integration.ingest.clients.compatibility_page import must_say, row
from tests.integration.ingest.clients.driving import MODULES, Done, Job, drive
from tests.integration.ingest.clients.health import Health
from tests.integration.ingest.clients.install import SEGMENT, PythonClient
from tests.integration.ingest.clients.proxy import Answer, Asked, Forward, Proxy, Trouble, Way, no_trouble
from tests.integration.ingest.clients.troubles import (
    Silence,
    body_cut_short,
    first_answer_lost,
    first_answered_with,
    first_over_quota,
    to_path,
    unknown_encoding,
)
from tests.integration.ingest.clients.write_keys import add_write_key
from tests.integration.ingest.conftest import Start, Tenant, events

CALLS = ("group", "track")
USED = Counter(["$group", "Report Exported"])
"""What these calls count as."""
BODY_LIMIT_BYTES = 16 * 1024
LOG_DEADLINE_SECONDS = 2
QUOTA_EVENTS_PER_S = 10
FLOOD_EVENTS = 13 * QUOTA_EVENTS_PER_S
"""Ten seconds' worth may come at once; the rest is owed for three seconds."""

FOR_GOOD: Mapping[str, Trouble] = {
    "400": body_cut_short,
    "401": no_trouble,  # its key is unknown
    "404": to_path("/v1/nowhere"),
    "405": to_path("/livez"),
    "413": no_trouble,  # its events are too large
    "415": unknown_encoding,
}
COMES_BACK = ("429", "503", "lost")
NEVER_SAID: Mapping[str, Trouble] = {
    "202": first_answered_with(202),
    "204": first_answered_with(204),
    "bare 400": first_answered_with(400, b'{"error":"bad_request"}'),
}
"""By ingest, and why."""
AT_ONCE = "503 at once"
"""To a client that sends each call by itself, while its caller waits."""

Ways = Mapping[str, Way]
"""Of one client, by case."""


async def test_a_refusal_for_good_is_asked_once_and_one_for_now_comes_back_and_counts_once(
    python_clients: None,
    start: Start,
    proxy: Proxy,
    log: EventLog,
    owner: asyncpg.Connection,
    tenant: Tenant,
    health: Health,
) -> None:
    running = await start(
        KIZASHI_INGEST_BODY_LIMIT_BYTES=str(BODY_LIMIT_BYTES),
        KIZASHI_INGEST_SINGLE_BODY_LIMIT_BYTES=str(BODY_LIMIT_BYTES),
        KIZASHI_INGEST_APPEND_DEADLINE_SECONDS=str(LOG_DEADLINE_SECONDS),
    )
    proxy.target = running.url
    silence = Silence(expected=2 * len(MODULES))
    small = {client: (await add_write_key(owner, tenant, QUOTA_EVENTS_PER_S)).key for client in MODULES}
    ways = {client: _ways(client, proxy, silence, small[client], running.url) for client in MODULES}
    async with asyncio.TaskGroup() as all_at_once:
        all_at_once.create_task(silence.happen(owner))
        driving = {
            client: all_at_once.create_task(drive(client, _jobs(client, ways[client], tenant.write_key, small[client])))
            for client in MODULES
        }
    for client in MODULES:
        _keeps_the_contract(ways[client], driving[client].result())
    await health.caught_up()
    ids = Counter(event.id for event in await events(log, Topic.TELEMETRY))
    assert await health.usage_total() == len(ids)
    for client in MODULES:
        done = driving[client].result()
        for case in (*COMES_BACK, *NEVER_SAID):
            assert set(done[case].sent.values()) <= set(ids)
            assert await health.usage(_account(client, case)) == USED
        assert [ids[sent] for sent in done["lost"].sent.values()] == [2, 2]
    must_say(_after_a_refusal(client, ways[client]) for client in MODULES)
    must_say(_after_what_is_never_said(client, ways[client]) for client in MODULES)


def _account(client: PythonClient, case: str) -> str:
    return f"account of {client}, {case}"


def _ways(client: PythonClient, proxy: Proxy, silence: Silence, small_key: str, url: str) -> Ways:
    over_quota = first_over_quota(url, small_key, FLOOD_EVENTS)
    once_silence_is_over = {**FOR_GOOD, **NEVER_SAID, "429": over_quota, "lost": first_answer_lost}
    troubles = {case: silence.survived_by(trouble) for case, trouble in once_silence_is_over.items()}
    troubles |= {"503": silence.met_by_the_first, AT_ONCE: silence.met_by_the_first}
    return {
        case: proxy.way(f"{client.name}-{client.version}-{case.replace(' ', '-')}", trouble)
        for case, trouble in troubles.items()
    }


def _jobs(client: PythonClient, ways: Ways, key: str, small_key: str) -> list[Job]:
    """Everything but what is said here is as the client comes: how long it waits, and how often it tries."""
    keys = {"401": "kzw_unknown", "429": small_key}
    return [
        Job(
            case,
            way.url,
            keys.get(case, key),
            user=f"{client}, {case}",
            account=_account(client, case),
            calls=("track",) if case == AT_ONCE else CALLS,
            padding=BODY_LIMIT_BYTES if case == "413" else 0,
            options={"sync_mode": True} if case == AT_ONCE else {"upload_size": len(CALLS)},
        )
        for case, way in ways.items()
    ]


def _keeps_the_contract(ways: Ways, done: Mapping[str, Done]) -> None:
    told = {case: way.told for case, way in ways.items()}
    assert {case: told[case] for case in FOR_GOOD} == {case: [int(case)] for case in FOR_GOOD}
    assert [len(done[case].problems) for case in FOR_GOOD] == [1] * len(FOR_GOOD)
    assert [(told[case][0], told[case][-1]) for case in COMES_BACK] == [(429, 200), (503, 200), (None, 200)]
    assert told[AT_ONCE] == [503]
    assert [len(done[case].problems) for case in (*COMES_BACK, AT_ONCE)] == [0, 0, 0, 1]


def _after_a_refusal(client: PythonClient, ways: Ways) -> str:
    """What the client was seen to do, as a line of the page."""
    return row(str(client), "one request", _comes_back(ways["429"]), _comes_back(ways["503"]), "sent again")


def _after_what_is_never_said(client: PythonClient, ways: Ways) -> str:
    return row(str(client), *("sent again" if len(ways[case].seen) > 1 else "one request" for case in NEVER_SAID))


def _comes_back(way: Way) -> str:
    first, second = way.seen[:2]
    assert first.answer is not None
    told_to_wait = int(first.answer.headers["Retry-After"])
    return "waits `Retry-After`" if second.asked_at - first.answered_at >= told_to_wait else "own back-off"


async def test_ingest_killed_between_the_log_and_its_answer_leaves_events_twice_and_their_effect_once(
    python_clients: None,
    start: Start,
    proxy: Proxy,
    log: EventLog,
    tenant: Tenant,
    health: Health,
) -> None:
    doomed, other = await asyncio.gather(start(KIZASHI_FAILPOINTS="ingest.appended"), start())
    proxy.target = doomed.url

    async def until_it_dies(_nth: int, asked: Asked, forward: Forward) -> Answer | None:
        answer = await forward(asked)
        if answer is None:
            proxy.target = other.url
        return answer

    way = proxy.way("killed", until_it_dies)
    job = Job("killed", way.url, tenant.write_key, "u", "acme", CALLS, options={"upload_size": len(CALLS)})
    done = (await drive(SEGMENT, [job]))["killed"]
    assert (await doomed.process.wait(), way.told, done.problems) == (-signal.SIGKILL, [None, 200], [])
    held = Counter(event.id for event in await events(log, Topic.TELEMETRY))
    assert held == Counter(2 * list(done.sent.values()))
    await health.caught_up()
    assert await health.usage("acme") == USED
    assert await health.usage_total() == len(CALLS)
