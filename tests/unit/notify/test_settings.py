"""notify's environment: secrets do not travel in the clear, and mistakes are one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.common.errors import NotStarted
from libs.common.events import Channel
from libs.common.settings import load
from services.notify.lease import Lease, LeaseRanOut
from services.notify.settings import NotifySettings, is_loopback
from services.notify.slack_bot import SlackBot
from services.notify.slack_webhook import SlackWebhook
from services.notify.smtp import Smtp
from services.notify.transport import NotSetUp
from services.notify.transports import transports_for
from tests.unit.notify.samples import templates


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_DATABASE_URL", "postgresql://kizashi@/kizashi")


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SMTP_TLS", "none", "KIZASHI_NOTIFY_SMTP_TLS is not valid: .*only for a mail server on this machine"),
        ("SLACK_API_URL", "http://slack.com/api/", "KIZASHI_NOTIFY_SLACK_API_URL is not valid: .*https://"),
        ("SLACK_WEBHOOK_URL", "http://hooks.slack.com/x", "KIZASHI_NOTIFY_SLACK_WEBHOOK_URL is not valid: .*https://"),
        ("MAIL_FROM", "somebody", "KIZASHI_NOTIFY_MAIL_FROM is not valid: .*must be an address"),
        ("MAIL_FROM", "A <a@b.example>\nBcc: c@d.example", "KIZASHI_NOTIFY_MAIL_FROM is not valid"),
        ("SMTP_PORT", "0", "KIZASHI_NOTIFY_SMTP_PORT is not valid"),
        ("LANGUAGE", "../x", "KIZASHI_NOTIFY_LANGUAGE is not valid"),
        ("SMPT_HOST", "x", "KIZASHI_NOTIFY_SMPT_HOST is not a setting of Kizashi"),
    ],
)
def test_mistakes(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str) -> None:
    monkeypatch.setenv("KIZASHI_NOTIFY_SMTP_HOST", "mail.example")
    monkeypatch.setenv(f"KIZASHI_NOTIFY_{variable}", value)
    with pytest.raises(NotStarted, match=sentence):
        load(NotifySettings, "notify")


def test_a_mail_server_on_this_machine_needs_no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_NOTIFY_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("KIZASHI_NOTIFY_SMTP_TLS", "none")
    assert load(NotifySettings, "notify").notify_smtp_tls == "none"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("localhost.evil.example", False),
        ("mail", False),
        ("", False),
        ("0.0.0.0", False),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIZASHI_NOTIFY_SLACK_BOT_TOKEN", "xoxb-hidden")
    monkeypatch.setenv("KIZASHI_NOTIFY_SMTP_PASSWORD", "also-hidden")
    assert "hidden" not in repr(load(NotifySettings, "notify"))


def test_transports_follow_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = transports_for(load(NotifySettings, "notify"), templates())
    assert {channel: type(one) for channel, one in nothing.items()} == dict.fromkeys(Channel, NotSetUp)
    monkeypatch.setenv("KIZASHI_NOTIFY_SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/x")
    monkeypatch.setenv("KIZASHI_NOTIFY_SMTP_HOST", "mail.example")
    some = transports_for(load(NotifySettings, "notify"), templates())
    assert {channel: type(one) for channel, one in some.items()} == {
        Channel.SLACK: SlackWebhook,
        Channel.EMAIL: Smtp,
    }
    monkeypatch.setenv("KIZASHI_NOTIFY_SLACK_BOT_TOKEN", "xoxb-hidden")
    assert isinstance(transports_for(load(NotifySettings, "notify"), templates())[Channel.SLACK], SlackBot)


def test_a_lease_that_ran_out_lets_nothing_leave() -> None:
    now = 100.0
    lease = Lease(5, now=lambda: now)
    now = 104.9
    lease.leave()
    assert lease.left
    late = Lease(5, now=lambda: now)
    now += 5
    with pytest.raises(LeaseRanOut):
        late.leave()
    assert not late.left
    with pytest.raises(LeaseRanOut):
        late.check()
    lease.check()


@pytest.mark.parametrize(("content", "why"), [(None, "No such file or directory"), ("no pem", "no certificate")])
def test_a_file_of_certificates_that_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, why: str
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("KIZASHI_NOTIFY_SMTP_HOST", "mail.example")
    monkeypatch.setenv("KIZASHI_NOTIFY_SMTP_CA_FILE", str(file))
    with pytest.raises(NotStarted, match=f"KIZASHI_NOTIFY_SMTP_CA_FILE names .*ca.pem, which cannot be used .*{why}"):
        transports_for(load(NotifySettings, "notify"), templates())
