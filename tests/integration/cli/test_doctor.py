"""`kizashi doctor` on a real PostgreSQL: whole, broken in every way we know, and with what waits for a person."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.local.postgres import EmbeddedPostgres, start
from libs.common.settings import SERVICES
from libs.common.testing import free_port
from tests.conftest import LOGIN, OWNER, TestDatabase
from tests.integration.cli.conftest import CONFIG, Doctor, Examined

UNSEEN = {"service_away"} | {"slack_not_set_up", "mail_not_set_up"}
"""What nothing is wrong with here, since there are no services and no providers."""


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
    assert "There was nothing to look at" in (await doctor.call("doctor")).output


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
        "health is 1 records behind; the oldest has waited for 5 min",
        "playbook is 1 records behind; the oldest has waited for 5 min",
        "notify has read everything",
    ]
    assert "1 events of playbook have not come into the log; the oldest has waited for 3 h." in seen.of("outbox")[0]
    assert "2 dead letters wait at notify: records that it refused." in seen.of("dead_letters")[0]
    assert "The kill switch of One is set: nothing leaves" in seen.of("killed")[0]
    assert not seen.of("observe")
    assert "The source Web app (1) of One is importing" in seen.of("source_importing")[0]
    assert "The source iOS app (2) of One has sent nothing yet." in seen.of("source_silent")[0]
    assert set(seen.problems) == {"stopped_lost", "stopped_breaker", "another_log", "outbox", "service_away"}


# --- configuration ---


async def test_every_mistake_in_the_environment_is_told_and_the_rest_is_looked_at(
    owner: asyncpg.Connection, doctor: Doctor
) -> None:
    doctor.set(KIZASHI_DATABSE_URL="x", KIZASHI_NOTIFY_SMTP_PORT="many", KIZASHI_CLI_KEY="x")
    seen = await doctor.look("--no-providers")
    assert sorted(seen.of("setting")) == [
        "KIZASHI_CLI_KEY is not a setting of Kizashi; correct or unset it (the settings are in .env.example).",
        "KIZASHI_DATABSE_URL is not a setting of Kizashi; correct or unset it (the settings are in .env.example). "
        "Until then it keeps every service from starting.",
        "KIZASHI_NOTIFY_SMTP_PORT is not valid: Input should be a valid integer, unable to parse string as an integer; "
        "see .env.example. Until then it keeps notify from starting.",
    ]
    assert seen.of("schemas")


async def test_a_mistake_in_config_is_told_by_file_and_line(doctor: Doctor, tmp_path: Path) -> None:
    shutil.copytree(CONFIG, tmp_path / "config")
    segments = tmp_path / "config" / "segments.yaml"
    segments.write_text(segments.read_text() + "colour: blue\n")
    (tmp_path / "config" / "messages" / "en" / "account-silent.slack.j2").write_text("{{ account_nam }}")
    doctor.set(KIZASHI_CONFIG_DIR=str(tmp_path / "config"))
    told = (await doctor.look()).of("config")
    assert [one.split(":")[0] for one in told] == [
        f"{segments}, line {len(segments.read_text().splitlines())}",
        f"{segments.parent / 'messages/en/account-silent.slack.j2'}, line 1",
    ]


async def test_files_that_load_but_do_not_fit_are_told(doctor: Doctor, tmp_path: Path) -> None:
    """Each service reads some of them, so none can see it."""
    config = tmp_path / "config"
    shutil.copytree(CONFIG, config)
    (config / "messages" / "en" / "usage-decline.slack.j2").unlink()
    segments, tiers = config / "segments.yaml", config / "touch_tiers.yaml"
    segments.write_text(segments.read_text().replace("segment: mid_market", "segment: middle"))
    tiers.write_text(tiers.read_text().replace("small_business: tech_touch", "small: tech_touch"))
    doctor.set(KIZASHI_CONFIG_DIR=str(config))
    seen = await doctor.look()
    [template] = seen.of("template_missing")
    assert template.startswith("The playbook usage-decline sends usage-decline, of which config/messages lacks")
    assert len(seen.of("segment_unknown")) == len(seen.of("segment_without_tier")) == 2


async def test_without_config_it_says_where_one_comes_from(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KIZASHI_CONFIG_DIR")
    monkeypatch.chdir(tmp_path)
    [missing] = (await doctor.look()).of("config_missing")
    assert missing.startswith(f"There is no folder {tmp_path / 'config'}:")


async def test_no_secret_is_printed_whatever_fails(
    owner: asyncpg.Connection, database: TestDatabase, doctor: Doctor, tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "kizashi_database_password").write_text("secret-1")
    nobody = f"127.0.0.1:{free_port()}"
    doctor.set(
        KIZASHI_SECRETS_DIR=str(folder),
        KIZASHI_LOG_URL=f"kafka://{nobody}",
        KIZASHI_LOG_USERNAME="somebody",
        KIZASHI_LOG_PASSWORD="secret-2",
        KIZASHI_OWNER_DATABASE_URL="postgresql://postgres:secret-3@localhost/kizashi",
        KIZASHI_NOTIFY_SLACK_API_URL=f"http://{nobody}/",
        KIZASHI_NOTIFY_SLACK_BOT_TOKEN="xoxb-secret-4",
        KIZASHI_NOTIFY_SMTP_HOST="localhost",
        KIZASHI_NOTIFY_SMTP_PORT=nobody.split(":")[1],
        KIZASHI_NOTIFY_SMTP_USERNAME="somebody",
        KIZASHI_NOTIFY_SMTP_PASSWORD="secret-5",
        KIZASHI_CLI_API_KEY="kzs_secret-6",
    )
    seen = await doctor.look()
    assert {"log", "slack_away", "mail_away"} <= set(seen.problems), seen.text
    assert seen.of("secrets") == [f"Read from files in {folder}: KIZASHI_DATABASE_PASSWORD."]
    for said in (seen.text, (await doctor.call("doctor")).output):
        assert "secret-" not in said.replace(str(folder), "")


# --- beside make run, and services ---


async def test_beside_make_run_it_needs_no_settings(database: TestDatabase, doctor: Doctor, tmp_path: Path) -> None:
    for name in [*(f"KIZASHI_CLI_{service.upper()}_URL" for service in SERVICES), "KIZASHI_CONFIG_DIR"]:
        doctor.environment.delenv(name)
    urls = {service: f"http://127.0.0.1:{free_port()}" for service in SERVICES}
    clock = tmp_path / "clock.json"
    clock.write_text(
        json.dumps(
            {"wall_anchor": "2026-01-01T00:00:00+00:00", "domain_anchor": "2025-12-01T00:00:00+00:00", "rate": 0}
        )
    )
    settings = {
        "KIZASHI_CONFIG_DIR": str(CONFIG),
        "KIZASHI_ENVIRONMENT": "demo",
        "KIZASHI_DOMAIN_CLOCK_FILE": str(clock),
    }
    run = {"urls": urls, "api_key": "kzs_any", "database": database.url, "log": database.url, "settings": settings}
    (tmp_path / "run.json").write_text(json.dumps(run))
    doctor.set(KIZASHI_HOME=str(tmp_path))
    seen = await doctor.look("--no-providers")
    assert seen.document["looked_at"] == f"the installation that runs from {tmp_path}"
    assert set(seen.problems) == {"service_away"}, seen.text
    assert f"health does not answer at {urls['health']} (nobody listens there)." in " ".join(seen.of("service_away"))
    [declared] = seen.of("domain_clock")
    assert f"Domain time is declared by {clock} (demo): it is 2025-12-01 00:00 UTC," in declared


async def test_a_database_of_the_environment_is_never_mixed_with_a_run_file(
    owner: asyncpg.Connection, doctor: Doctor, tmp_path: Path
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"database": "postgresql://other", "log": "kafka://other:9092"}))
    doctor.set(KIZASHI_HOME=str(tmp_path))
    seen = await doctor.look("--no-providers")
    assert seen.document["looked_at"] == "the environment's settings"
    assert seen.of("lag")


async def test_what_a_service_says_of_itself_is_passed_on(doctor: Doctor) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"ready": false, "problems": ["the event log does not answer: no"]}'
        writer.write(b"HTTP/1.1 503 Later\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        doctor.set(KIZASHI_CLI_HEALTH_URL=f"http://127.0.0.1:{port}")
        seen = await doctor.look()
    assert seen.of("service_unready") == ["health is not ready: the event log does not answer: no."]
    assert seen.document["could_look"]
