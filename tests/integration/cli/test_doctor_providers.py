"""`kizashi doctor` and what carries messages out of the house: it is asked, and nobody is told anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.doctor.findings import Finding, Level
from cli.doctor.providers import judge_slack
from deploy.local.inbox.server import running_inbox
from libs.common.testing import free_port
from tests.certificates import self_signed
from tests.integration.cli.conftest import Doctor, Examined


async def _look(doctor: Doctor, folder: Path, *options: str, **variables: str) -> Examined:
    """With a Slack and a mail server that demands STARTTLS and a log-in."""
    shown, certificate = self_signed(folder)
    async with running_inbox(smtp_tls=shown, smtp_login=("kizashi", "right")) as inbox:
        doctor.set(
            **{
                "KIZASHI_DATABASE_URL": f"postgresql://kizashi@127.0.0.1:{free_port()}/kizashi",
                "KIZASHI_NOTIFY_SLACK_API_URL": inbox.slack_api_url,
                "KIZASHI_NOTIFY_SLACK_BOT_TOKEN": inbox.slack_token,
                "KIZASHI_NOTIFY_SMTP_HOST": "localhost",
                "KIZASHI_NOTIFY_SMTP_PORT": str(inbox.smtp_port),
                "KIZASHI_NOTIFY_SMTP_CA_FILE": str(certificate),
                "KIZASHI_NOTIFY_SMTP_USERNAME": "kizashi",
                "KIZASHI_NOTIFY_SMTP_PASSWORD": "right",
                **variables,
            }
        )
        seen = await doctor.look(*options)
        assert inbox.messages.all() == []
        return seen


async def test_both_let_us_in(doctor: Doctor, tmp_path: Path) -> None:
    seen = await _look(doctor, tmp_path)
    assert seen.of("slack")[0].startswith("Slack lets ")
    assert seen.of("mail")[0].endswith("lets us in as kizashi, by STARTTLS.")


@pytest.mark.parametrize(
    ("variable", "value", "code", "says"),
    [
        ("SLACK_BOT_TOKEN", "xoxb-wrong", "slack_refuses", "Slack refuses the bot's token (invalid_auth)."),
        ("SMTP_PASSWORD", "wrong", "mail_refuses", "refuses the log-in (535)."),
        ("SMTP_TLS", "tls", "mail_away", "cannot be talked to"),
        ("SMTP_CA_FILE", "/nowhere.pem", "mail_ca_file", "KIZASHI_NOTIFY_SMTP_CA_FILE cannot be used."),
    ],
)
async def test_a_wrong_setting_is_named(
    doctor: Doctor, tmp_path: Path, variable: str, value: str, code: str, says: str
) -> None:
    seen = await _look(doctor, tmp_path, **{f"KIZASHI_NOTIFY_{variable}": value})
    assert says in seen.of(code)[0], seen.text


async def test_a_certificate_that_nobody_trusts_is_told(doctor: Doctor, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    _, certificate = self_signed(other)
    seen = await _look(doctor, tmp_path, KIZASHI_NOTIFY_SMTP_CA_FILE=str(certificate))
    assert "shows a certificate that is not trusted (" in seen.of("mail_certificate")[0], seen.text


async def test_they_are_left_alone_on_request(doctor: Doctor, tmp_path: Path) -> None:
    seen = await _look(doctor, tmp_path, "--no-providers", KIZASHI_NOTIFY_SLACK_BOT_TOKEN="xoxb-wrong")
    assert not any(one["area"] == "Slack and mail" for one in seen.document["findings"])


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        ("chat:write,channels:read,channels:history,groups:read", (Level.OK, "slack")),
        (None, (Level.OK, "slack")),
        ("chat:write", (Level.PROBLEM, "slack_scopes")),
    ],
    ids=str,
)
def test_scopes_that_lack_are_named(scopes: str | None, expected: tuple[Level, str]) -> None:
    found: Finding = judge_slack({"ok": True, "user": "kizashi", "team": "Acme"}, scopes)
    assert (found.level, found.code) == expected
