"""`kizashi doctor` on a real PostgreSQL: whole, broken in every way we know, and with what waits for a person."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.local.postgres import EmbeddedPostgres, start
from libs.common.testing import free_port
from tests.conftest import LOGIN, OWNER, TestDatabase
from tests.integration.cli.conftest import Doctor, Examined


async def test_a_new_installation_has_no_problem_but_services_that_do_not_run(
    owner: asyncpg.Connection, doctor: Doctor
) -> None:
    seen = await doctor.look("--no-providers")
    assert set(seen.problems) == {"service_away"}, seen.text
    assert {"settings", "config", "postgres", "roles", "schemas", "log", "lag", "clock"} <= {
        one["code"] for one in seen.document["findings"] if one["level"] == "ok"
    }
    assert set(seen.warnings) == {
        "postgres_forgets",
        "observe",
    }  # a server of tests, and a workspace that nobody enabled
    assert {one["about"] for one in seen.document["findings"] if one["code"] == "lag"} == {
        "health",
        "playbook",
        "notify",
    }
    [observe] = seen.of("observe")
    assert "One is in observe: everything is decided and recorded, and nobody is told." in observe
    assert seen.status == 1


async def test_people_get_sentences(owner: asyncpg.Connection, doctor: Doctor) -> None:
    said = (await doctor.call("doctor", "--no-providers")).output
    assert "  ok       All 6 schemas are at the revision that this release expects.\n" in said
    assert "           → When you agree with what it would tell: `kizashi notify enable`.\n" in said
    assert "4 problems and 2 warnings;" in said.splitlines()[-1]
    brief = (await doctor.call("doctor", "--no-providers", "--brief")).output
    assert "All 6 schemas" not in brief
    assert "is in observe" in brief


# --- nobody answers ---


async def test_nothing_to_look_at_is_another_exit_status(doctor: Doctor) -> None:
    seen = await doctor.look()
    assert (seen.status, seen.document["could_look"]) == (2, False)
    assert seen.of("setting") == [
        "KIZASHI_DATABASE_URL is not set; see .env.example. Until then it keeps every service from starting."
    ]
    assert "Nothing but settings could be looked at" in (await doctor.call("doctor")).output


async def _alone(doctor: Doctor, url: str) -> Examined:
    doctor.set(KIZASHI_DATABASE_URL=url)
    return await doctor.look("--no-providers")


@pytest.mark.parametrize(
    ("user", "name", "says"),
    [
        (LOGIN, "nowhere", "has no such database; make it, or correct KIZASHI_DATABASE_URL."),
        ("stranger", "postgres", 'does not let us in (role "stranger" does not exist); correct KIZASHI_DATABASE_URL'),
    ],
)
async def test_who_is_not_let_in_learns_why(
    postgres: EmbeddedPostgres, doctor: Doctor, user: str, name: str, says: str
) -> None:
    seen = await _alone(doctor, postgres.url(user, name))
    assert seen.status == 1
    [sentence] = seen.of("unseen")
    assert says in sentence


async def test_a_server_that_is_not_there_is_named_without_its_password(doctor: Doctor) -> None:
    port = free_port()
    seen = await _alone(doctor, f"postgresql://kizashi:very-secret@127.0.0.1:{port}/kizashi")
    assert seen.of("unseen") == [
        f"PostgreSQL at 127.0.0.1:{port}/kizashi does not answer (Connect call failed ('127.0.0.1', {port})); "
        "start it, or correct KIZASHI_DATABASE_URL."
    ]
    assert "very-secret" not in seen.text


@pytest.fixture
def frozen() -> Iterator[EmbeddedPostgres]:
    """Its first process takes connections' packets no more; the kernel still accepts them."""
    home = Path(tempfile.mkdtemp(prefix="kizashi-frozen-"))
    home.chmod(0o755)
    server = start(home / "postgres", durable=False)
    process = psutil.Process(server.pid)
    process.suspend()
    yield server
    process.resume()
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


async def test_a_frozen_server_is_not_waited_for(frozen: EmbeddedPostgres, doctor: Doctor) -> None:
    seen = await _alone(doctor, frozen.url(OWNER, "postgres"))
    [sentence] = seen.of("unseen")
    assert "has not answered within 5 s" in sentence
    assert seen.seconds < 15


async def test_tables_that_somebody_locks_are_not_waited_for(owner: asyncpg.Connection, doctor: Doctor) -> None:
    async with owner.transaction():
        await owner.execute("LOCK TABLE health.consumer_position, playbook.outbox IN ACCESS EXCLUSIVE MODE")
        seen = await doctor.look("--no-providers")
    assert any("How far health has read cannot be seen" in one for one in seen.of("unseen"))
    assert any("What waits at playbook cannot be seen" in one for one in seen.of("unseen"))
    assert "notify has read everything." in seen.of("lag")
    assert seen.seconds < 30


# --- migrations ---


async def test_a_schema_that_is_behind_is_named(owner: asyncpg.Connection, doctor: Doctor) -> None:
    await owner.execute("UPDATE health.schema_version SET version_num = 'health_0001'")
    await owner.execute("UPDATE notify.schema_version SET version_num = 'notify_9999'")
    seen = await doctor.look("--no-providers")
    [behind] = seen.of("schema_behind")
    assert behind.startswith("The schema health is at health_0001, and this release needs health_0")
    assert "health does not start. Run the migrations: python -m libs.common.migrate" in behind
    assert "notify is at notify_9999, and this kizashi, which is older, knows only" in seen.of("schema_ahead")[0]
    assert [one.split()[0] for one in seen.of("lag")] == ["playbook", "notify"]  # what is there is looked at


@pytest.fixture
async def bare(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """A database that nobody has migrated."""
    owner = await asyncpg.connect(postgres.url(OWNER, "postgres"))
    await owner.execute("CREATE DATABASE bare")
    yield postgres.url(LOGIN, "bare")
    await owner.execute("DROP DATABASE bare WITH (FORCE)")
    await owner.close()


async def test_nobody_has_migrated(bare: str, doctor: Doctor) -> None:
    seen = await _alone(doctor, bare)
    assert len(seen.of("schema_behind")) == 6
    assert any("run the migrations" in one for one in seen.of("log"))


# --- what waits for a person ---


async def test_everything_that_waits_for_a_person_is_told_with_the_way_on(
    owner: asyncpg.Connection, database: TestDatabase, doctor: Doctor
) -> None:
    identity = await owner.fetchval("SELECT id::text FROM log.identity")
    await owner.execute(
        "INSERT INTO health.consumer_position (topic, partition, log_identity, next, refused_in_a_row, lost) VALUES "
        "('telemetry', 0, $1, 0, 0, 'telemetry/0 is gone.'), ('telemetry', 1, $1, 0, 25, NULL)",
        identity,
    )
    await owner.execute(
        "INSERT INTO notify.consumer_position (topic, partition, log_identity, next) "
        "VALUES ('touches', 3, 'elsewhere', 7)"
    )
    await owner.execute("SELECT log.keep_days_ahead()")
    await owner.execute(
        "INSERT INTO log.record (position, appended_at, number, key, value) "
        "SELECT 0, now() - interval '1 minute' * 5, number, 'k', 'v' FROM log.topic_partition "
        "WHERE topic IN ('telemetry', 'health') AND partition = 1"
    )
    await owner.execute(
        "UPDATE log.topic_partition SET next = 1 WHERE topic IN ('telemetry', 'health') AND partition = 1"
    )
    await owner.execute(
        "INSERT INTO playbook.outbox (topic, partition, key, value, created_at) "
        "VALUES ('touches', 0, 'k', 'v', now() - interval '3 hours')"
    )
    await owner.execute(
        "INSERT INTO notify.dead_letter (id, topic, partition, log_offset, reason, detail, key, value, headers) "
        "SELECT gen_random_uuid(), 'touches', 0, 0, 'invalid', '', '', '', '' FROM generate_series(1, 2)"
    )
    await owner.execute("INSERT INTO ingest.source (workspace_id, name) VALUES (1, 'Web app')")
    await owner.execute("INSERT INTO ingest.source (workspace_id, name, state) VALUES (1, 'iOS app', 'live')")
    await owner.execute(
        "INSERT INTO notify.delivery_mode (workspace_id, mode, kill_switch, slack_hourly_cap, email_hourly_cap, "
        "webhook_unknown, changed_by) VALUES (1, 'enabled', true, 1, 1, 'prefer_miss', 'test')"
    )
    await _two_mails_wait(owner)
    seen = await doctor.look("--no-providers")
    [lost] = seen.of("stopped_lost")
    assert lost == (
        "health: telemetry/0 is gone. `kizashi log skip health telemetry 0 --to earliest` goes on with what the log "
        "still holds."
    )
    assert "`kizashi dlq allow telemetry 1 100 --service health`" in seen.of("stopped_breaker")[0]
    [stranger] = seen.of("another_log")
    assert stranger.startswith(
        f"notify has read touches of the event log elsewhere, but this one is {identity}. Connect the old log again"
    )
    assert [one.split(".")[0] for one in seen.of("lag")] == [
        "health is 1 record behind; the oldest has waited for 5 min",
        "playbook is 1 record behind; the oldest has waited for 5 min",
        "notify has read everything",
    ]
    assert "1 event of playbook did not come into the log yet; the oldest has waited for 3 h." in seen.of("outbox")[0]
    assert "notify has refused what is kept as 2 dead letters." in seen.of("dead_letters")[0]
    assert "The kill switch of One is set: nothing leaves" in seen.of("killed")[0]
    assert not seen.of("observe")
    assert seen.of("deliveries_wait")[0].startswith(
        "2 messages of One for email should have left; the oldest has waited for 40 min (not_set_up)."
    )
    assert "The source Web app (1) of One is importing" in seen.of("source_importing")[0]
    assert "The source iOS app (2) of One has sent nothing yet." in seen.of("source_silent")[0]
    assert set(seen.problems) == {"stopped_lost", "stopped_breaker", "another_log", "outbox", "service_away"}


async def _two_mails_wait(owner: asyncpg.Connection) -> None:
    await owner.execute(
        "INSERT INTO notify.delivery (workspace_id, delivery_id, dedupe_key, account_id, run_id, playbook, tier, "
        "channel, target, template, facts, state, last_problem, requested_at, fresh_until, due_at, expires_at) "
        "SELECT 1, gen_random_uuid(), n::text, 'acme', 'run', 'silent', 'tech_touch', 'email', 'a@example.com', "
        "'silent', '{}', 'pending', 'not_set_up', now(), now(), now() - n * interval '20 minutes', now() "
        "FROM generate_series(0, 2) AS n"
    )
    await owner.execute(
        "INSERT INTO notify.schedule (workspace_id, delivery_id, channel, lane, account) "
        "SELECT workspace_id, delivery_id, channel, 1, 1 FROM notify.delivery"
    )
