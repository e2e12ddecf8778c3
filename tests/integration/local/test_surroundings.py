"""What the services of a local installation are told: the inbox, unless the operator brings the real thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.home import Home
from deploy.local.settings import LocalSettings, load_settings
from deploy.local.surroundings import environment
from libs.common.errors import NotStarted
from libs.common.settings import load
from services.notify.settings import NotifySettings

HOME = Home(Path("/home/of/kizashi"))


def surroundings(**changes: object) -> dict[str, str]:
    settings = LocalSettings().model_copy(update=changes)
    return environment(settings, HOME, "postgresql://kizashi@/kizashi", None, settings.ports(), 2525)


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KIZASHI_HOME", "KIZASHI_LOCAL_PORT", "DEMO"):
        monkeypatch.delenv(name, raising=False)


def test_slack_and_mail_end_in_the_inbox_and_notify_accepts_that(monkeypatch: pytest.MonkeyPatch) -> None:
    given = surroundings()
    assert given["KIZASHI_NOTIFY_SLACK_API_URL"] == "http://127.0.0.1:8084/slack/api/"
    for name, value in given.items():
        if name.startswith("KIZASHI_"):
            monkeypatch.setenv(name, value)
    settings = load(NotifySettings, "notify")
    assert (settings.notify_smtp_host, settings.notify_smtp_port) == ("127.0.0.1", 2525)


def test_real_slack_and_mail_win_over_the_inbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_NOTIFY_SLACK_BOT_TOKEN", "xoxb-real")
    monkeypatch.setenv("KIZASHI_NOTIFY_SMTP_HOST", "smtp.example.com")
    given = surroundings()
    assert given["KIZASHI_NOTIFY_SLACK_BOT_TOKEN"] == "xoxb-real"
    assert "KIZASHI_NOTIFY_SLACK_API_URL" not in given
    assert given["KIZASHI_NOTIFY_SMTP_HOST"] == "smtp.example.com"
    assert "KIZASHI_NOTIFY_SMTP_TLS" not in given
    assert "KIZASHI_NOTIFY_LEASE_SECONDS" not in given


def test_only_a_demo_declares_a_clock() -> None:
    assert surroundings()["KIZASHI_DOMAIN_CLOCK_FILE"] == "/home/of/kizashi/clock.json"
    assert not {"KIZASHI_DOMAIN_CLOCK_FILE", "KIZASHI_ENVIRONMENT"} & surroundings(demo=False).keys()


def test_what_is_only_ours_does_not_reach_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_HOME", "/elsewhere")
    monkeypatch.setenv("KIZASHI_LOCAL_PORT", "9000")
    given = surroundings()
    assert not {"KIZASHI_HOME", "KIZASHI_LOCAL_PORT", "DEMO"} & given.keys()


def test_ports_follow_the_first_one_and_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_LOCAL_PORT", "9000")
    monkeypatch.setenv("KIZASHI_LOCAL_NOTIFY_PORT", "7000")
    settings = load_settings()
    assert settings.ports() == {"ingest": 9000, "health": 9001, "playbook": 9002, "notify": 7000, "inbox": 9004}


def test_two_on_one_port_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_LOCAL_NOTIFY_PORT", "8081")
    with pytest.raises(NotStarted, match="8081"):
        load_settings().ports()
