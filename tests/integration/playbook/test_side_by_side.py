"""Several processes at once, workspaces beside each other, and what the database itself refuses."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial

import asyncpg
import pytest

from libs.common.db import Database, text
from libs.common.errors import RetryLater
from libs.common.events import Tier
from libs.common.testing import eventually
from services.playbook.domain.runs import Outcome, Run
from services.playbook.store.runs import insert_runs
from services.playbook.store.situations import load_situations
from tests.conftest import TestDatabase
from tests.integration.playbook.conftest import House, count
from tests.unit.playbook.examples import ACCOUNT, NOW, WORKSPACE, band_changed, snapshot, usage_decline, went_silent

TENANT_TABLES = ["account", "waiting_finding", "run", "touch", "timeline_entry"]


async def _decline_of(house: House, accounts: int) -> None:
    for n in range(accounts):
        name = f"account {n}"
        await house.tell(
            snapshot(1, account_id=name), band_changed(version=1, account_id=name, id=f"band {n}", workspace=WORKSPACE)
        )


async def test_two_workers_side_by_side_do_each_step_once(house: House) -> None:
    await _decline_of(house, 30)
    done = [0, 0]

    async def work(n: int) -> None:
        worker = house.worker()
        while await worker.do_one_step():
            done[n] += 1

    await asyncio.gather(work(0), work(1))
    touches = await house.touches()
    assert len(touches) == len({touch.id for touch in touches}) == 30
    assert min(done) > 0, "both worked"


async def test_a_worker_passes_over_a_step_that_another_is_doing(house: House) -> None:
    await _decline_of(house, 2)
    async with house.database.transaction() as connection:
        await connection.execute(text("SELECT * FROM schedule ORDER BY due_at, run_id LIMIT 1 FOR UPDATE"))
        await house.do_steps()
        assert len(await house.touches()) == 1
    await house.do_steps()
    assert len(await house.touches()) == 2


async def test_a_worker_passes_over_a_run_about_which_a_decision_is_being_made(house: House) -> None:
    await _decline_of(house, 2)
    worker = house.worker()
    async with house.database.transaction([WORKSPACE]) as connection:
        await load_situations(connection, [(WORKSPACE, "account 0")], ["usage-decline"])
        while await worker.do_one_step():
            pass
        assert [touch.account_id for touch in await house.touches()] == ["account 1"]

    async def the_other() -> bool:
        await worker.do_one_step()
        return len(await house.touches()) == 2

    await eventually(the_other, what="the run that was busy")


async def test_a_decision_waits_for_a_run_that_goes_on_in_another_tier_and_sees_the_new_one(house: House) -> None:
    """Else an account could get green while its run is exchanged, and the new run would know nothing of it."""
    await house.tell(snapshot(1, segment="small_business"), band_changed(version=1))
    await house.do_steps()
    await house.tell(snapshot(2, segment="enterprise"))
    house.clock.advance(timedelta(days=14))
    await house.owner.execute(
        "CREATE FUNCTION playbook.slow() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END $$"
    )
    await house.owner.execute(
        "CREATE TRIGGER slow BEFORE INSERT ON playbook.run FOR EACH ROW EXECUTE FUNCTION playbook.slow()"
    )
    silent = went_silent(version=2, as_of=house.clock.at)

    async def are_waiting(n: int) -> bool:
        return int(await house.owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")) == n

    await house.owner.execute("SELECT pg_advisory_lock(4711)")
    exchange = asyncio.create_task(house.worker().do_one_step())
    await eventually(partial(are_waiting, 1), what="the exchange, in the middle of it")
    decision = asyncio.create_task(house.tell(silent))
    await eventually(partial(are_waiting, 2), what="the decision behind the exchange")
    await house.owner.execute("SELECT pg_advisory_unlock(4711)")
    await asyncio.gather(exchange, decision)
    assert await house.runs() == [
        ("usage-decline", "ended", "tier_changed"),
        ("account-silent", "open", None),
        ("usage-decline", "ended", "superseded"),
    ]


async def test_a_run_whose_step_breaks_keeps_nobody_waiting(house: House) -> None:
    await _decline_of(house, 3)
    await house.owner.execute(
        "UPDATE playbook.run SET definition = '{\"name\": \"from the future\"}' WHERE account_id = 'account 1'"
    )
    await house.do_steps()
    assert sorted(touch.account_id for touch in await house.touches()) == ["account 0", "account 2"]


async def test_a_step_that_is_rolled_back_happens_once_all_the_same(house: House) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    before = await house.everything()
    blocked = await house.owner.execute("ALTER TABLE playbook.outbox RENAME TO outbox_away")
    assert blocked == "ALTER TABLE"
    await house.worker().do_one_step()
    await house.owner.execute("ALTER TABLE playbook.outbox_away RENAME TO outbox")
    assert await house.everything() == before, "all of it or nothing"
    await house.do_steps()
    assert len(await house.touches()) == 1


async def test_the_worker_waits_for_a_database_that_is_gone(house: House, database: TestDatabase) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    worker, stopping = house.worker(), asyncio.Event()
    await house.owner.execute("UPDATE playbook.schedule SET due_at = due_at + interval '1 hour'")
    task = asyncio.create_task(worker.run(stopping))
    admin = await asyncpg.connect(database.owner_url)
    await admin.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND application_name = 'kizashi_playbook_worker'"
    )
    await admin.close()
    house.clock.advance(timedelta(hours=1))

    async def told() -> bool:
        return len(await house.touches()) == 1

    await eventually(told, what="the touch")
    assert await worker.live() is None
    assert not task.done()
    stopping.set()
    await task


async def test_the_database_holds_one_open_run_for_each_playbook_and_account(
    house: House, database: TestDatabase
) -> None:
    """Two transactions that know nothing of each other: the second waits for the first and stores nothing."""
    one = Run.of(usage_decline(), Tier.HIGH, band_changed(episode=1), NOW)
    other = Run.of(usage_decline(), Tier.HIGH, band_changed(episode=2), NOW)
    second_db = Database(database.url, role="kizashi_playbook_worker", schema="playbook")

    async def insert_the_other() -> set[str]:
        async with second_db.transaction([WORKSPACE]) as connection:
            return await insert_runs(connection, [other])

    async def is_waiting() -> bool:
        return bool(await house.owner.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    async with house.database.transaction([WORKSPACE]) as connection:
        assert await insert_runs(connection, [one]) == {one.run_id}
        second = asyncio.create_task(insert_the_other())
        await eventually(is_waiting, what="the second insert behind the first")
    assert await second == set()
    await second_db.close()
    assert await house.runs() == [("usage-decline", "open", None)]
    assert [tuple(row) for row in await house.owner.fetch("SELECT due_at FROM playbook.schedule")] == [(NOW,)]


async def test_a_run_that_somebody_else_has_started_is_told_to_people_and_to_nobody_twice(house: House) -> None:
    """The constraint is the last line: here the open run is stored behind the decision's back."""
    await house.tell(snapshot(1))
    hidden = Run.of(usage_decline(), Tier.HIGH, band_changed(episode=7), NOW)
    async with house.database.transaction([WORKSPACE]) as connection:
        await insert_runs(connection, [hidden])
        await connection.execute(text("UPDATE run SET account_id = 'elsewhere'"))
    await house.owner.execute(
        "CREATE FUNCTION playbook.meanwhile() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "UPDATE playbook.run SET account_id = NEW.account_id WHERE account_id = 'elsewhere'; RETURN NEW; END $$"
    )
    await house.owner.execute(
        "CREATE TRIGGER meanwhile BEFORE INSERT ON playbook.run FOR EACH ROW EXECUTE FUNCTION playbook.meanwhile()"
    )
    await house.tell(band_changed(version=1))
    await house.do_steps()
    assert await house.runs() == [("usage-decline", "open", None)]
    assert [touch.run_id for touch in await house.touches()] == [hidden.run_id]
    assert (await house.timeline())[1] == (
        "run_not_started",
        "Usage decline did not start: somebody else started it at the same moment, so nobody is told again",
    )


async def test_a_cancelled_wait_does_not_outlive_its_run(house: House) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    await house.do_steps()
    await house.tell(snapshot(2, stage="churned"))
    assert await house.owner.fetchval("SELECT count(*) FROM playbook.schedule") == 0
    assert await house.runs() == [("usage-decline", "ended", str(Outcome.STAGE_EXCLUDED))]


async def test_workspaces_do_not_see_each_other(house: House) -> None:
    for workspace in (1, 2):
        await house.tell(
            snapshot(1, workspace=workspace),
            band_changed(version=1, workspace=workspace),
            band_changed(version=9, episode=2, workspace=workspace),
        )
    await house.do_steps()
    assert {touch.workspace for touch in await house.touches()} == {1, 2}
    assert len({touch.id for touch in await house.touches()}) == 2
    for table in TENANT_TABLES:
        everything = await house.owner.fetchval(f"SELECT count(*) FROM playbook.{table}")
        assert await count(house.database, table, [1, 2]) == everything > 0, table
        assert await count(house.database, table, [1]) == everything / 2, table
        assert await count(house.database, table, []) == 0, table


async def test_a_row_of_another_workspace_cannot_be_written(house: House) -> None:
    await house.tell(snapshot(1), band_changed(version=1), band_changed(version=9, episode=2))
    await house.do_steps()
    for table in TENANT_TABLES:
        rows = await house.owner.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'playbook' AND table_name = $1 "
            "AND is_identity = 'NO' AND column_name <> 'workspace_id'",
            table,
        )
        columns = ", ".join(row["column_name"] for row in rows)
        with pytest.raises(Exception, match="row-level security"):
            async with house.database.transaction([WORKSPACE]) as connection:
                await connection.execute(
                    text(f"INSERT INTO {table} (workspace_id, {columns}) SELECT 2, {columns} FROM {table}")
                )


async def test_the_api_role_reads_and_writes_nothing(house: House, database: TestDatabase) -> None:
    await house.tell(snapshot(1), band_changed(version=1))
    api_db = Database(database.url, role="kizashi_playbook_api", schema="playbook")
    for table in TENANT_TABLES:
        with pytest.raises(Exception, match="permission denied"):
            async with api_db.transaction([WORKSPACE]) as connection:
                await connection.execute(text(f"DELETE FROM {table} WHERE account_id = :account"), {"account": ACCOUNT})
    with pytest.raises(Exception, match="permission denied"):
        async with api_db.transaction([WORKSPACE]) as connection:
            await connection.execute(text("SELECT * FROM schedule"))
    await api_db.close()


async def test_a_step_while_the_database_refuses_is_retried_later(house: House, database: TestDatabase) -> None:
    gone = Database(database.url.replace(database.name, "no_such_database"), role="x", schema="playbook")
    worker = replace(house, database=gone).worker()
    with pytest.raises(RetryLater):
        await worker.do_one_step()
    await gone.close()
