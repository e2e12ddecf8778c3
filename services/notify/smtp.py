"""Mail by SMTP: STARTTLS demanded and checked by default; a lost answer is settled by sending under the same id."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Literal

import aiosmtplib

from libs.common.errors import NotStarted
from libs.common.failpoints import failpoint
from services.notify import mail_message
from services.notify.domain.delivery import Delivery, Settling
from services.notify.domain.outcomes import Accepted, CannotTell, Deferred, Finding, Lost, Outcome, Refused
from services.notify.lease import Lease
from services.notify.templates import Templates

BAD_ADDRESS_REPLIES = {550, 551, 553}
_ENHANCED_STATUS = re.compile(r"\b5\.(\d{1,3})\.(\d{1,3})\b")


@dataclass(frozen=True)
class SmtpServer:
    """``ca_file`` trusts a private certificate authority beside those of the system."""

    host: str
    port: int
    tls: Literal["starttls", "tls", "none"]
    username: str | None = None
    password: str | None = None
    ca_file: Path | None = None


class Smtp:
    """A Transport that settles by sending again under the same Message-ID. One connection per mail.

    Raises NotStarted when the file of certificates cannot be used.
    """

    settling = Settling.SAME_ID
    spacing_seconds = 0.0

    def __init__(self, *, server: SmtpServer, sender: str, timeout_seconds: float, templates: Templates) -> None:
        self._server = server
        self._sender = sender
        self._timeout_seconds = timeout_seconds
        self._templates = templates
        self._tls_context = ssl.create_default_context()
        if server.ca_file is not None:
            try:
                self._tls_context.load_verify_locations(server.ca_file)
            except OSError as exc:
                raise NotStarted(
                    f"KIZASHI_NOTIFY_SMTP_CA_FILE names {server.ca_file}, which cannot be used ({exc.strerror}); "
                    "it must be a file of certificates in PEM."
                ) from exc

    def lane_of(self, target: str) -> str:
        return target.lower()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, delivery: Delivery, lease: Lease) -> Outcome:
        message = mail_message.compose(delivery, self._sender, self._templates)
        client = aiosmtplib.SMTP(
            hostname=self._server.host,
            port=self._server.port,
            username=self._server.username,
            password=self._server.password,
            use_tls=self._server.tls == "tls",
            start_tls=self._server.tls == "starttls",
            tls_context=self._tls_context if self._server.tls != "none" else None,
            timeout=self._timeout_seconds,
            local_hostname=socket.gethostname(),
        )
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._hand_over(client, delivery, message, lease)
        except aiosmtplib.SMTPResponseException as exc:
            return outcome_of(exc, lease.left)
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as exc:
            reason = "timeout" if isinstance(exc, TimeoutError) else type(exc).__name__
            return Lost(reason) if lease.left else Deferred(reason)
        finally:
            client.close()

    async def look_up(self, _delivery: Delivery, _place: str | None) -> Finding:
        return CannotTell("smtp")

    async def _hand_over(
        self, client: aiosmtplib.SMTP, delivery: Delivery, message: EmailMessage, lease: Lease
    ) -> Outcome:
        await client.connect()
        address = mail_message.recipient(delivery).addr_spec
        international = not address.isascii()
        if international and not client.supports_extension("smtputf8"):
            return Refused("address_needs_smtputf8")
        encoding = "utf-8" if international else "ascii"
        await client.mail(
            mail_message.bare_address(self._sender), options=["SMTPUTF8"] if international else [], encoding=encoding
        )
        await client.rcpt(address, encoding=encoding)
        failpoint("notify.connected")
        lease.leave()
        await client.data(message.as_bytes(policy=mail_message.POLICY.clone(utf8=international)))
        with contextlib.suppress(aiosmtplib.SMTPException, OSError):
            await client.quit(timeout=1)
        return Accepted(provider_id=str(message["Message-ID"]))


def outcome_of(exc: aiosmtplib.SMTPResponseException, left: bool) -> Outcome:
    """4xx is for later; 5xx about this mail is for ever; 5xx about us (greeting, STARTTLS, log-in) is for somebody to
    mend within the day; an answer that makes no sense after the mail has ``left`` decides nothing."""
    if exc.code < 400 and left:
        return Lost(f"smtp_{exc.code}")
    about_this_mail = aiosmtplib.SMTPRecipientRefused | aiosmtplib.SMTPDataError | aiosmtplib.SMTPSenderRefused
    if exc.code < 500 or not isinstance(exc, about_this_mail):
        return Deferred(f"smtp_{exc.code}")
    dead = isinstance(exc, aiosmtplib.SMTPRecipientRefused) and _is_bad_address(exc.code, exc.message)
    return Refused(f"smtp_{exc.code}", dead_address=dead)


def _is_bad_address(code: int, message: str) -> bool:
    """A refusal for a reason of policy (5.7.1) or a full mailbox (5.2.2) says nothing against the address itself."""
    status = _ENHANCED_STATUS.search(message)
    if status is None:
        return code in BAD_ADDRESS_REPLIES
    subject, detail = status.groups()
    return subject == "1" or (subject, detail) == ("2", "1")
