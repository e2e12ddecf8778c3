"""The SMTP side: accepts mail as a real server does and keeps it."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from deploy.local.inbox.faults import FaultKind, Faults
from deploy.local.inbox.messages import Email, Messages

MESSAGE_BYTES = 10 * 1024 * 1024
ACCEPTED = "250 2.0.0 OK: queued"
_NO_REPLY = "421 4.4.2 closing"
"""Never arrives: the connection is cut before."""


@dataclass(frozen=True)
class Mailbox:
    """aiosmtpd's handler: its ``handle_…`` hooks answer MAIL, RCPT and DATA."""

    messages: Messages
    faults: Faults

    async def handle_MAIL(
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := await self._fault(server, "MAIL", address):
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := await self._fault(server, "RCPT", address):
            return reply
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        mail = _read(envelope, number=self.messages.seq + 1)
        fault = self.faults.take("smtp", "DATA", envelope.rcpt_tos[0], delivers=True)
        if fault is None:
            self.messages.put(mail)
            return ACCEPTED
        if fault.kind in (FaultKind.DROP_AFTER, FaultKind.HANG_AFTER):
            self.messages.put(mail)
        return await _failing(server, fault.kind, fault.smtp_reply)

    async def _fault(self, server: SMTP, command: str, address: str) -> str | None:
        fault = self.faults.take("smtp", command, address, delivers=False)
        return await _failing(server, fault.kind, fault.smtp_reply) if fault else None


async def _failing(server: SMTP, kind: FaultKind, reply: str) -> str:
    match kind:
        case FaultKind.DROP_BEFORE | FaultKind.DROP_AFTER:
            cast(asyncio.WriteTransport, server.transport).abort()
            return _NO_REPLY
        case FaultKind.HANG_BEFORE | FaultKind.HANG_AFTER:
            await asyncio.Event().wait()
            return _NO_REPLY
        case _:
            return reply


def password_check(username: str, password: str) -> Callable[[SMTP, Session, Envelope, str, object], AuthResult]:
    """An authenticator for aiosmtpd that takes exactly this user."""

    def check(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: object) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (
            username.encode(),
            password.encode(),
        )
        return AuthResult(success=right, handled=right)

    return check


def _read(envelope: Envelope, number: int) -> Email:
    source = envelope.original_content or b""
    parsed = email.message_from_bytes(source, policy=email.policy.default)
    return Email(
        id=f"mail-{number}",
        received_at=datetime.now(UTC),
        sender=envelope.mail_from or "",
        recipients=list(envelope.rcpt_tos),
        subject=str(parsed.get("Subject", "")),
        message_id=str(parsed["Message-ID"]).strip() if parsed["Message-ID"] else None,
        headers={name: str(value) for name, value in parsed.items()},
        text=_body(parsed, "plain"),
        html=_body(parsed, "html"),
        source=source.decode("latin-1"),
    )


def _body(parsed: EmailMessage, kind: str) -> str:
    part = parsed.get_body((kind,))
    return str(part.get_content()) if part is not None else ""
