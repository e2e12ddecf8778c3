"""notify's environment variables."""

from __future__ import annotations

from datetime import timedelta
from email.errors import HeaderParseError
from email.headerregistry import Address
from email.utils import parseaddr
from ipaddress import ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from libs.common.settings import CommonSettings


class NotifySettings(CommonSettings):
    """Slack by bot token, else by incoming webhook; mail by SMTP. What is not set up waits, visibly, for 24 hours."""

    notify_port: int = 8083
    notify_language: str = Field(
        default="en", pattern=r"^[a-z]{2}(-[A-Z]{2})?$", description="a folder of config/messages"
    )

    notify_slack_api_url: str = "https://slack.com/api/"
    notify_slack_bot_token: SecretStr | None = None
    notify_slack_webhook_url: SecretStr | None = None

    notify_smtp_host: str | None = None
    notify_smtp_port: int = Field(default=587, ge=1, le=65535)
    notify_smtp_username: str | None = None
    notify_smtp_password: SecretStr | None = None
    notify_smtp_tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="none only for a server on this machine"
    )
    notify_smtp_ca_file: Path | None = Field(default=None, description="of a private certificate authority")
    notify_mail_from: str = Field(default="Kizashi <kizashi@localhost>", description="Name <address> or an address")

    notify_lease_seconds: float = Field(default=30, gt=0, description="from the claim to the last moment of the call")
    notify_client_timeout_seconds: float = Field(default=10, gt=0, le=12, description="of one call to a provider")
    notify_settle_margin_seconds: float = Field(default=15, ge=0, description="before a lost answer is looked into")

    @property
    def grace(self) -> timedelta:
        """How long after its lease a frozen owner may still be inside its call."""
        return timedelta(seconds=self.notify_client_timeout_seconds + self.notify_settle_margin_seconds)

    @field_validator("notify_slack_api_url")
    @classmethod
    def _keeps_the_token_secret(cls, url: str) -> str:
        return _private(url)

    @field_validator("notify_slack_webhook_url")
    @classmethod
    def _keeps_the_address_secret(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            _private(url.get_secret_value())
        return url

    @field_validator("notify_smtp_tls")
    @classmethod
    def _no_mail_in_the_clear(cls, tls: str, others: ValidationInfo) -> str:
        if tls == "none" and not is_loopback(others.data.get("notify_smtp_host") or "localhost"):
            raise ValueError("none is only for a mail server on this machine")
        return tls

    @field_validator("notify_client_timeout_seconds")
    @classmethod
    def _ends_within_the_lease(cls, timeout: float, others: ValidationInfo) -> float:
        lease = others.data.get("notify_lease_seconds", timeout)
        if timeout > lease / 2:
            raise ValueError("must be at most half of KIZASHI_NOTIFY_LEASE_SECONDS, so that a call ends within it")
        return timeout

    @field_validator("notify_mail_from")
    @classmethod
    def _has_a_domain(cls, sender: str) -> str:
        try:
            address = Address(addr_spec=parseaddr(sender)[1])
        except (ValueError, HeaderParseError) as exc:
            raise ValueError("must be an address, or: Name <address>") from exc
        if not address.domain or "\n" in sender or "\r" in sender:
            raise ValueError("must be an address, or: Name <address>")
        return sender


def _private(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ValueError("must begin with https:// (http:// only for this machine)")
    return url


def is_loopback(host: str) -> bool:
    """Whether a host can only be this machine; a name other than localhost is not looked up."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
