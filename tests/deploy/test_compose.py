"""The compose file keeps the promises of docs/one-server.md, as far as a file can."""

from __future__ import annotations

import asyncio
import re
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from deploy.local.kafka_properties import Ports, properties
from libs.common.database_urls import OWNER_PASSWORD, OWNER_URL
from libs.common.runtime import CLOSE_SECONDS, STOP_SECONDS
from libs.common.settings import CommonSettings, variable_of
from services.health.settings import HealthSettings
from services.ingest.settings import IngestSettings
from services.notify.settings import NotifySettings
from services.playbook.settings import PlaybookSettings
from tests.deploy.compose import (
    FILE,
    ONCE,
    OURS,
    ROOT,
    SERVICES,
    THEIRS,
    TOOLS,
    compose,
    environment,
    seconds,
    secrets,
    service,
)

SETTINGS: dict[str, type[CommonSettings]] = {
    "ingest": IngestSettings,
    "health": HealthSettings,
    "playbook": PlaybookSettings,
    "notify": NotifySettings,
}
STAYING = (*SERVICES, *THEIRS)
NEW_SECRETS = ROOT / "deploy" / "compose" / "new-secrets.sh"


def variables(settings: type[CommonSettings]) -> dict[str, bool]:
    """Variable -> whether it must be given."""
    return {variable_of(settings, name): field.is_required() for name, field in settings.model_fields.items()}


EVERYTHING = {name for settings in SETTINGS.values() for name in variables(settings)}


# --- the file as such ---


def test_it_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout


def test_these_tests_know_every_service() -> None:
    assert set(compose()["services"]) == {*OURS, *THEIRS}


# --- settings ---


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    known = EVERYTHING | {OWNER_URL, OWNER_PASSWORD}
    given = {variable for variable in environment(name) if not variable.startswith("KIZASHI_CLI_")}
    assert given | {secret.upper() for secret in secrets(name) if secret.startswith("kizashi_")} <= known


@pytest.mark.parametrize("name", SERVICES)
def test_every_setting_can_be_given(name: str) -> None:
    """What a service must have, it gets here; everything else that it understands may stand in .env, which is handed
    on whole, but for what this file decides."""
    own = variables(SETTINGS[name])
    given = {*environment(name), *(secret.upper() for secret in secrets(name))}
    assert {variable for variable, required in own.items() if required} <= given
    assert service(name)["env_file"] == [{"path": ".env", "required": False}]
    decided = {variable for variable in own if variable in given and "${" + variable not in _text()}
    by_file = {
        "KIZASHI_DATABASE_PASSWORD",
        "KIZASHI_NOTIFY_SLACK_BOT_TOKEN",
        "KIZASHI_NOTIFY_SLACK_WEBHOOK_URL",
        "KIZASHI_NOTIFY_SMTP_PASSWORD",
    }
    here = {"SECRETS_DIR", "DATABASE_URL", "LOG_URL", "CONFIG_DIR", "ENVIRONMENT", "HOST", f"{name.upper()}_PORT"}
    assert decided - by_file == {f"KIZASHI_{variable}" for variable in here}


def test_no_secret_stands_in_the_file() -> None:
    """Secrets are those settings that do not show themselves."""
    secret = {
        variable_of(settings, name)
        for settings in SETTINGS.values()
        for name, field in settings.model_fields.items()
        if "Secret" in str(field.annotation) and not name.endswith("url")
    } | {OWNER_PASSWORD}
    for name in compose()["services"]:
        assert secret.isdisjoint(environment(name)), name
        assert not any(re.search(r"://[^/@]*:[^/@]*@", value) for value in environment(name).values()), name


@pytest.mark.parametrize("name", [*SERVICES, "mailpit", "prometheus"])
def test_only_this_machine_reaches_a_published_port(name: str) -> None:
    assert service(name)["ports"]
    assert all(port.startswith("127.0.0.1:") for port in service(name)["ports"])


def test_nothing_else_is_published() -> None:
    assert [name for name in compose()["services"] if "ports" in service(name)] == [*SERVICES, "mailpit", "prometheus"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_listens_where_it_is_looked_for(name: str) -> None:
    port = environment(name)[f"KIZASHI_{name.upper()}_PORT"]
    assert service(name)["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f":{port}/readyz" in service(name)["healthcheck"]["test"][-1]
    assert environment("kizashi")[f"KIZASHI_CLI_{name.upper()}_URL"] == f"http://{name}:{port}"
    assert f"{name}:{port}" in _scraped()


def test_prometheus_asks_nobody_else() -> None:
    assert len(_scraped()) == len(SERVICES) + 1


def _scraped() -> list[str]:
    configuration = YAML(typ="safe").load((ROOT / "deploy/compose/prometheus.yml").read_text())
    return [
        target
        for job in configuration["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    ]


# --- how things run ---


@pytest.mark.parametrize("name", [*OURS, *THEIRS])
def test_nothing_may_take_the_whole_server(name: str) -> None:
    limits = service(name)["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[MG]", limits["memory"])
    assert service(name)["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", [*OURS, *THEIRS])
def test_nothing_may_become_more_than_it_is(name: str) -> None:
    assert service(name)["cap_drop"] == ["ALL"]
    assert service(name)["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service(name)
    assert "cap_add" not in service(name)


@pytest.mark.parametrize("name", OURS)
def test_ours_write_nowhere(name: str) -> None:
    assert service(name)["read_only"] is True
    assert all(volume.endswith(":ro") for volume in service(name).get("volumes", []))


@pytest.mark.parametrize("name", STAYING)
def test_what_stays_is_watched_and_comes_back(name: str) -> None:
    assert service(name)["restart"] == "unless-stopped"
    assert service(name)["healthcheck"]["test"][0] == "CMD"
    assert seconds(service(name)["stop_grace_period"]) >= 20


@pytest.mark.parametrize("name", [*ONCE, *TOOLS])
def test_what_runs_once_fails_once(name: str) -> None:
    assert service(name)["restart"] == "no"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_given_the_time_it_takes_to_stop(name: str) -> None:
    assert seconds(service(name)["stop_grace_period"]) > STOP_SECONDS + CLOSE_SECONDS + 1


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_its_ground(name: str) -> None:
    assert {on: how["condition"] for on, how in service(name)["depends_on"].items()} == {
        "postgres": "service_healthy",
        "kafka": "service_healthy",
        "migrate": "service_completed_successfully",
        "topics": "service_completed_successfully",
    }


@pytest.mark.parametrize("name", ["postgres", "kafka"])
def test_what_is_kept_has_no_way_out(name: str) -> None:
    assert service(name)["networks"] == ["inside"]
    assert compose()["networks"]["inside"]["internal"] is True


@pytest.mark.parametrize("name", THEIRS)
def test_the_images_of_others_are_pinned(name: str) -> None:
    assert re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-\w+)?@sha256:[0-9a-f]{64}", service(name)["image"])


def test_the_broker_is_set_up_like_the_one_that_is_tested() -> None:
    """Also the same version; what differs is where it listens, and what makes it small and quick on a laptop."""
    ours = environment("kafka")
    tested = dict(
        line.split("=", 1)
        for line in properties(Ports(1, 2), Path("data"), Path("none"), None, durable=True).splitlines()
        if line and not line.startswith("#")
    )
    elsewhere = re.compile(r"listener|voters|log\.dirs|num\.(network|io)\.threads|log\.cleaner|heartbeat|session")
    wanted = {
        f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in tested.items() if not elsewhere.search(name)
    }
    assert wanted.items() <= ours.items()
    version = re.search(r"kafka_2\.13</artifactId>\s*<version>([\d.]+)<", _pom())
    assert version is not None
    assert service("kafka")["image"].startswith(f"apache/kafka:{version[1]}@")


def _pom() -> str:
    return (ROOT / "deploy" / "local" / "kafka-pom.xml").read_text()


# --- secrets ---


def test_every_secret_is_made_and_kept(tmp_path: Path) -> None:
    wanted = {Path(secret["file"]) for secret in compose()["secrets"].values()}
    assert {path.parent for path in wanted} == {Path("deploy/compose/secrets")}
    folder = tmp_path / "secrets"
    _run_new_secrets(folder)
    made = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(made) == {path.name for path in wanted}
    assert made["postgres_password"] != made["kizashi_database_password"]
    _run_new_secrets(folder)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == made


def test_secrets_are_their_owners_until_docker_mounts_them(tmp_path: Path) -> None:
    """Each file is mounted as it is, for users of other numbers; so it is the folder that keeps others out."""
    _run_new_secrets(tmp_path / "secrets")
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "secrets").iterdir()} == {0o644}


async def test_the_certificate_of_the_inbox_is_good_for_the_inbox(tmp_path: Path) -> None:
    """Trusted as notify trusts it, and by the stricter rules of newer Pythons as well."""
    _run_new_secrets(tmp_path)
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(tmp_path / "mailpit_certificate", tmp_path / "mailpit_key")
    trusting = ssl.create_default_context()
    trusting.load_verify_locations(tmp_path / "mailpit_certificate")
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=shown)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="mailpit")
        writer.close()
        with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
            await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="mail.example.com")


def test_secrets_stay_out_of_git_and_out_of_the_image() -> None:
    secret = "deploy/compose/secrets/postgres_password"
    assert subprocess.run(["git", "check-ignore", "--quiet", secret], cwd=ROOT, check=False).returncode == 0
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert "!deploy" not in ignored


def _run_new_secrets(folder: Path) -> None:
    subprocess.run(["sh", str(NEW_SECRETS), str(folder)], check=True, capture_output=True)


def _text() -> str:
    return FILE.read_text()
