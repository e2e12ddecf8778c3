"""Several routers and score workers work beside each other, and beside the handlers, and lose nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from libs.common.db import Database, text
from services.health.router import Router
from services.health.score_worker import Candidate, Cause, ScoreWorker
from services.health.store import dirty, schedule
from services.health.store.dirty import DAYS_AT_ONCE, DAYS_OF_A_WHOLE_USER
from services.health.store.schedule import AccountKey
from services.health.tally import Lane
from tests.conftest import TestDatabase
from tests.integration.health.world import DAY, IMPATIENT, MONDAY, World, world

ACME = AccountKey(1, "acme")


async def test_an_account_that_is_being_scored_is_passed_over(here: World) -> None:
    await here.tell(here.routine("acme", ["ann"], MONDAY - DAY, days=1))
    await here.read_up_to(here.clock.at)
    await here.router.route_once()
    async with here.worker_db.transaction([1]) as connection:
        assert await schedule.claim(connection, ACME) is not None
        assert await here.another_score_worker().score_round() == 0
    assert await here.rows("SELECT FROM dirty") != []
    assert await here.score_worker.score_round() == 1
    assert await here.rows("SELECT FROM dirty") == []


async def test_an_account_that_was_just_scored_is_not_scored_again(here: World) -> None:
    await here.establish("acme")
    async with here.worker_db.transaction() as connection:
        reached = await schedule.frontier(connection, here.clock.now())
    assert not await here.score_worker.score(Candidate(Cause.NEWS, ACME), reached)
    assert not await here.score_worker.score(Candidate(Cause.TIME, ACME), reached)


async def test_news_that_arrives_during_a_scoring_stays_for_the_next(here: World) -> None:
    await here.establish("acme")
    await here.tell([here.track("Feature 1 Used", "acme-1", here.clock.at)])
    await here.router.route_once()
    async with here.worker_db.transaction([1]) as connection:
        await schedule.claim(connection, ACME)
        taken = await dirty.look(connection, 1, "acme", Lane.LIVE, here.clock.at)
        await here.tell([here.track("Feature 2 Used", "acme-2", here.clock.at)])
        assert await here.router.route_once() == 1  # the router waits for nobody
        await dirty.delete(connection, taken.ids)
    assert [row["user_key"] for row in await here.rows("SELECT user_key FROM dirty")] == ["u:acme-2"]


async def test_two_of_everything_come_to_the_same_as_one(database: TestDatabase) -> None:
    accounts = [f"account{n}" for n in range(12)]
    async with world(database) as here:
        batches = []
        for n, account in enumerate(accounts):
            people = [f"{account}-{m}" for m in range(3)]
            batches.append(here.routine(account, people, MONDAY - 40 * DAY, days=40))
            batches.append([here.group(people[0], accounts[n - 1], MONDAY - 9 * DAY)])
        await here.read_up_to(here.clock.at)
        stopping = asyncio.Event()
        tasks = [
            asyncio.create_task(task)
            for _ in range(2)
            for task in (
                Router(here.worker_db).run(stopping),
                ScoreWorker(here.worker_db, here.clock, here.rules, IMPATIENT).run(stopping),
            )
        ]
        for start in range(0, len(batches), 4):
            await asyncio.gather(*(here.tell(batch) for batch in batches[start : start + 4]))
        stopping.set()
        await asyncio.gather(*tasks)
        await here.settle()
        (applied,) = await here.rows("SELECT sum(n)::int AS n FROM usage")
        (counted,) = await here.rows("SELECT sum(n)::int AS n FROM account_day")
        assert applied == counted == {"n": sum(map(len, batches))}
        scores = await here.rows("SELECT account_id, score, last_activity_at, trend FROM account ORDER BY 1")
        # From nothing but the facts, by one worker.
        await here.rows("TRUNCATE account, account_usage, account_day, account_people, score_history, schedule, outbox")
        await here.rows(
            "INSERT INTO dirty (workspace_id, account_id, user_key, lane, until, since) "
            "SELECT DISTINCT 1, named.account_id, u.user_key, 'live', timestamptz '2020-01-01', now() "
            "FROM usage u CROSS JOIN (SELECT DISTINCT account_id FROM group_call) AS named"
        )
        await here.rows("INSERT INTO schedule (workspace_id, account_id) SELECT DISTINCT 1, account_id FROM dirty")
        await here.settle()
        assert await here.rows("SELECT account_id, score, last_activity_at, trend FROM account ORDER BY 1") == scores


async def test_an_account_whose_scoring_breaks_is_set_aside(here: World) -> None:
    await here.establish("acme", "bolt")
    await here.rows("UPDATE account SET standing = '[1]' WHERE account_id = 'acme'")
    for account in ("acme", "bolt"):
        await here.tell([here.track("Ticket Opened", None, here.clock.at, account_id=account, properties={})])
    await here.router.route_once()
    assert await here.score_worker.score_round() == 1
    assert [row["account_id"] for row in await here.rows("SELECT account_id FROM dirty")] == ["acme"]
    (waiting,) = await here.rows("SELECT account_id FROM schedule WHERE not_before > now()")
    assert waiting == {"account_id": "acme"}


async def test_an_account_that_its_transaction_cannot_finish_delays_no_other(here: World) -> None:
    """As when it has too much of something for one transaction; here somebody holds its row."""
    await here.establish("acme", "bolt")
    for account in ("acme", "bolt"):
        await here.tell([here.track("Ticket Opened", None, here.clock.at, account_id=account, properties={})])
    await here.router.route_once()
    impatient = Database(here.database.url, role="kizashi_health_worker", schema="health", lock_seconds=0.2)
    worker = ScoreWorker(impatient, here.clock, here.rules, IMPATIENT)
    async with here.worker_db.transaction([1]) as connection:
        await connection.execute(text("SELECT FROM account WHERE account_id = 'acme' FOR UPDATE"))
        assert await worker.score_round() == 1
        assert [row["account_id"] for row in await here.rows("SELECT account_id FROM dirty")] == ["acme"]
        assert await here.rows("SELECT account_id FROM schedule WHERE not_before > now()") == [{"account_id": "acme"}]
    await here.rows("UPDATE schedule SET not_before = now()")
    assert await worker.score_round() == 1
    await impatient.close()


async def test_an_expensive_account_rests_in_proportion(here: World) -> None:
    await here.tell(here.routine("acme", ["ann"], MONDAY - DAY, days=1))
    await here.read_up_to(here.clock.at)
    await here.router.route_once()
    pace = replace(IMPATIENT, rests_for=10_000)
    worker = ScoreWorker(here.worker_db, here.clock, here.rules, pace)
    assert await worker.score_round() == 1
    await here.tell([here.track("Used", "ann", here.clock.at)])
    await here.router.route_once()
    assert await worker.score_round() == 0
    await here.rows("UPDATE schedule SET not_before = now()")
    assert await worker.score_round() == 1


async def test_news_settles_for_a_second_and_is_not_postponed(here: World) -> None:
    await here.tell(here.routine("acme", ["ann"], MONDAY - DAY, days=1))
    await here.read_up_to(here.clock.at)
    await here.router.route_once()
    worker = ScoreWorker(here.worker_db, here.clock, here.rules)
    assert await worker.score_round() == 0
    await here.rows("UPDATE dirty SET since = since - interval '1 second'")
    await here.tell([here.track("Used", "ann", here.clock.at)])
    await here.router.route_once()
    assert await worker.score_round() == 1
    assert await here.rows("SELECT FROM dirty") == []


async def test_workspaces_with_the_same_names_do_not_mix(here: World) -> None:
    await here.tell(
        here.routine("acme", ["ann"], MONDAY - 7 * DAY, days=5)
        + here.routine("acme", ["ann", "bob"], MONDAY - 7 * DAY, days=5, per_day=1, workspace=2, source=7)
        + [here.group("ann", "bolt", MONDAY - 20 * DAY, workspace=2, source=7)]
    )
    await here.settle()
    assert sum((await here.usage("acme")).values()) == 1 + 4 * 5
    assert sum((await here.usage("acme", workspace=2)).values()) == 2 + 2 * 5
    assert await here.usage("bolt") == {}
    await here.go_live(source=7, workspace=2)
    await here.settle()
    sources = await here.rows("SELECT workspace_id, source, live_since IS NOT NULL AS live FROM source ORDER BY 1")
    assert sources == [
        {"workspace_id": 1, "source": 1, "live": False},
        {"workspace_id": 2, "source": 7, "live": True},
    ]


async def test_more_news_than_one_scoring_takes_is_taken_by_several(here: World) -> None:
    people = [f"user{n}" for n in range(DAYS_AT_ONCE // DAYS_OF_A_WHOLE_USER + 20)]
    events = [here.group(user, "acme", MONDAY - 3 * DAY) for user in people]
    events += [here.track("Used", user, MONDAY - days * DAY) for user in people for days in (2, 1)]
    await here.tell(events)
    await here.read_up_to(here.clock.at)
    while await here.router.route_once():
        pass
    assert await here.score_worker.score_round() == 1
    left = {row["user_key"] for row in await here.rows("SELECT user_key FROM dirty")}
    assert len(left) == 20
    assert sum((await here.usage("acme")).values()) == 3 * (len(people) - 20)
    await here.settle()
    assert sum((await here.usage("acme")).values()) == len(events)
