"""The environment that the services get: addresses of their neighbours, and the inbox in place of SMTP and Slack."""

from __future__ import annotations

import os
from collections.abc import Mapping

from deploy.local.home import Home
from deploy.local.inbox.server import TOKEN, slack_api_url
from deploy.local.settings import LocalSettings

_QUICK_SETTLING = {
    "KIZASHI_NOTIFY_LEASE_SECONDS": "6",
    "KIZASHI_NOTIFY_CLIENT_TIMEOUT_SECONDS": "2",
    "KIZASHI_NOTIFY_SETTLE_MARGIN_SECONDS": "1",
}
"""The inbox answers at once, so what became of a lost answer can be looked into after seconds."""


def brings_real_slack(given: Mapping[str, str] = os.environ) -> bool:
    return bool(given.get("KIZASHI_NOTIFY_SLACK_BOT_TOKEN") or given.get("KIZASHI_NOTIFY_SLACK_WEBHOOK_URL"))


def brings_real_mail(given: Mapping[str, str] = os.environ) -> bool:
    return bool(given.get("KIZASHI_NOTIFY_SMTP_HOST"))


def environment(
    settings: LocalSettings,
    home: Home,
    database_url: str,
    kafka_url: str | None,
    ports: Mapping[str, int],
    smtp_port: int,
) -> dict[str, str]:
    """Ours for everything that this installation decides; what the operator set for the services stays. ``kafka_url``
    is where a broker of our own answers."""
    given = {
        name: value
        for name, value in os.environ.items()
        if name not in ("KIZASHI_HOME", "DEMO", "LOG") and not name.startswith("KIZASHI_LOCAL_")
    }
    ours = {
        "KIZASHI_DATABASE_URL": database_url,
        "KIZASHI_CONFIG_DIR": str(settings.config_dir.resolve()),
        "PYTHONUNBUFFERED": "1",
    }
    ours |= {f"KIZASHI_{name.upper()}_PORT": str(port) for name, port in ports.items() if name != "inbox"}
    if kafka_url is not None:
        ours |= {"KIZASHI_LOG_URL": kafka_url}
    if settings.demo:
        ours |= {"KIZASHI_ENVIRONMENT": "demo", "KIZASHI_DOMAIN_CLOCK_FILE": str(home.clock_file)}
        # The story's days pass in seconds, so its products send as much as a thousand do.
        unbounded = ("KIZASHI_INGEST_KEY_EVENTS_PER_S", "KIZASHI_INGEST_KEY_IMPORT_EVENTS_PER_S")
        ours |= {name: given.get(name, "0") for name in unbounded}
    if not brings_real_slack(given):
        ours |= {
            "KIZASHI_NOTIFY_SLACK_API_URL": slack_api_url(settings.url(ports["inbox"])),
            "KIZASHI_NOTIFY_SLACK_BOT_TOKEN": TOKEN,
        }
    if not brings_real_mail(given):
        ours |= {
            "KIZASHI_NOTIFY_SMTP_HOST": "127.0.0.1",
            "KIZASHI_NOTIFY_SMTP_PORT": str(smtp_port),
            "KIZASHI_NOTIFY_SMTP_TLS": "none",
        }
    quick = {} if brings_real_slack(given) or brings_real_mail(given) else _QUICK_SETTLING
    return {**quick, **given, **ours}
