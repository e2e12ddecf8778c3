"""A wrong environment is one sentence that names the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.common.clock import WallClock
from libs.common.errors import NotStarted
from libs.common.settings import CommonSettings, load, read

URL = "postgresql://kizashi@localhost/kizashi"


class Settings(CommonSettings):
    health_port: int = 8081


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("KIZASHI_DATABASE_URL", URL)
    return monkeypatch


def test_settings_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KIZASHI_HEALTH_PORT", "9000")
    settings = load(Settings, "health")
    assert settings.health_port == 9000
    assert settings.event_log_url == URL
    assert isinstance(settings.clock(), WallClock)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("KIZASHI_HEALTH_PROT", "1", "KIZASHI_HEALTH_PROT is not a setting of Kizashi"),
        ("KIZASHI_DATABSE_URL", URL, "KIZASHI_DATABSE_URL is not a setting of Kizashi"),
        ("KIZASHI_HEALTH_PORT", "many", "KIZASHI_HEALTH_PORT is not valid: Input should be a valid integer"),
        ("KIZASHI_DATABASE_URL", "mysql://x", "KIZASHI_DATABASE_URL is not valid: Value error, must begin with postg"),
        ("KIZASHI_LOG_URL", "mysql://x", "KIZASHI_LOG_URL is not valid: Value error, must begin with postgresql:// or"),
        ("KIZASHI_LOG_URL", "kafka://broker", "KIZASHI_LOG_URL is not valid: Value error, The address of a Kafka"),
        ("KIZASHI_LOG_SASL_MECHANISM", "magic", "KIZASHI_LOG_SASL_MECHANISM is not valid"),
        ("KIZASHI_LOG_RETENTION_DAYS", "8", "KIZASHI_LOG_RETENTION_DAYS is not valid"),
    ],
)
def test_a_wrong_variable_is_named(environment: pytest.MonkeyPatch, variable: str, value: str, says: str) -> None:
    environment.setenv(variable, value)
    with pytest.raises(NotStarted, match=says):
        load(Settings, "health")


def test_a_missing_variable_is_named(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("KIZASHI_DATABASE_URL")
    with pytest.raises(NotStarted, match="KIZASHI_DATABASE_URL is not set"):
        load(Settings, "health")


def test_variables_of_other_services_are_theirs_to_check(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KIZASHI_NOTIFY_MAIL_FROM", "cs@example.com")
    environment.setenv("KIZASHI_LOCAL_PORT", "9000")
    load(Settings, "health")


def test_production_cannot_declare_another_time(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("KIZASHI_DOMAIN_CLOCK_FILE", str(tmp_path / "clock.json"))
    with pytest.raises(NotStarted, match="only a demo or a test may do"):
        load(Settings, "health").clock()


def test_secrets_do_not_show(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KIZASHI_DATABASE_URL", "postgresql://u:very-secret@localhost/k")
    assert "very-secret" not in repr(load(Settings, "health"))


def test_every_mistake_is_told_to_who_asks_for_all(environment: pytest.MonkeyPatch) -> None:
    for variable in ("KIZASHI_HEALTH_PROT", "KIZASHI_HEALTH_PORT", "KIZASHI_LOGGING_LEVEL"):
        environment.setenv(variable, "many")
    settings, mistakes = read(Settings, "health")
    assert settings is None
    assert {one.variable for one in mistakes} == {"KIZASHI_HEALTH_PROT", "KIZASHI_HEALTH_PORT", "KIZASHI_LOGGING_LEVEL"}


def test_a_misspelt_variable_spoils_no_other(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("KIZASHI_HEALTH_PROT", "1")
    settings, [mistake] = read(Settings, "health")
    assert settings is not None
    assert "KIZASHI_HEALTH_PROT is not a setting of Kizashi" in mistake.sentence
