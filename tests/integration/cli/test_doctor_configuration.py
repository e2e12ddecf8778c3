"""`kizashi doctor` on settings and files: every mistake at once, no secret, and the right installation."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import asyncpg
import pytest

from libs.common.settings import SERVICES
from libs.common.testing import free_port
from tests.conftest import TestDatabase
from tests.integration.cli.conftest import CONFIG, Doctor


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


async def test_settings_that_nobody_could_connect_with_come_first(owner: asyncpg.Connection, doctor: Doctor) -> None:
    """Else it would look at another log than the one that is meant."""
    doctor.set(KIZASHI_LOG_URL="mysql://elsewhere")
    seen = await doctor.look("--no-providers")
    assert seen.status == 2
    assert seen.of("setting")[0].startswith("KIZASHI_LOG_URL is not valid: Value error, must begin with postgresql://")
    assert not seen.of("postgres")


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


async def test_no_secret_is_printed_though_kafka_slack_and_mail_are_away(
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
