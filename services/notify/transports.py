"""Chooses how each channel is carried, by what the environment sets up."""

from __future__ import annotations

from collections.abc import Mapping

from libs.common.events import Channel
from libs.common.observability import get_logger
from services.notify.settings import NotifySettings
from services.notify.slack_bot import SlackBot
from services.notify.slack_webhook import SlackWebhook
from services.notify.smtp import Smtp, SmtpServer
from services.notify.templates import Templates
from services.notify.transport import NotSetUp, Transport

logger = get_logger(__name__)


def transports_for(settings: NotifySettings, templates: Templates) -> Mapping[Channel, Transport]:
    """A bot token is preferred to a webhook: only a bot can look up what it has posted. Raises NotStarted."""
    found = {Channel.SLACK: _slack(settings, templates), Channel.EMAIL: _mail(settings, templates)}
    for channel, transport in found.items():
        logger.info("transport", channel=channel, by=type(transport).__name__)
    return found


def _slack(settings: NotifySettings, templates: Templates) -> Transport:
    timeout = settings.notify_client_timeout_seconds
    if settings.notify_slack_bot_token is not None:
        return SlackBot(
            token=settings.notify_slack_bot_token.get_secret_value(),
            api_url=settings.notify_slack_api_url,
            timeout_seconds=timeout,
            templates=templates,
        )
    if settings.notify_slack_webhook_url is not None:
        url = settings.notify_slack_webhook_url.get_secret_value()
        return SlackWebhook(url=url, timeout_seconds=timeout, templates=templates)
    return NotSetUp()


def _mail(settings: NotifySettings, templates: Templates) -> Transport:
    if settings.notify_smtp_host is None:
        return NotSetUp()
    password = settings.notify_smtp_password
    server = SmtpServer(
        host=settings.notify_smtp_host,
        port=settings.notify_smtp_port,
        tls=settings.notify_smtp_tls,
        username=settings.notify_smtp_username,
        password=password.get_secret_value() if password is not None else None,
        ca_file=settings.notify_smtp_ca_file,
    )
    return Smtp(
        server=server,
        sender=settings.notify_mail_from,
        timeout_seconds=settings.notify_client_timeout_seconds,
        templates=templates,
    )
