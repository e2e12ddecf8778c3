"""The mail of a touch: headers that nobody can add to, text and HTML, and an id that never changes."""

from __future__ import annotations

from email.errors import HeaderParseError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from services.notify.domain.delivery import Delivery
from services.notify.plain_text import one_line
from services.notify.templates import CannotRender, Templates

POLICY = SMTP.clone(cte_type="7bit", max_line_length=78)
"""Every server takes 7 bits; what needs more is encoded."""


def message_id(delivery: Delivery, sender: str) -> str:
    """The same for every attempt, so that mail readers fold what a crash made us send twice."""
    return f"<{delivery.id}@{_address(sender).domain}>"


def compose(delivery: Delivery, sender: str, templates: Templates) -> EmailMessage:
    """Raises CannotRender: ``unknown_template``, ``template_error``, ``invalid_recipient``."""
    text = templates.mail(delivery.template, delivery.facts)
    message = EmailMessage(POLICY)
    message["From"] = _address(sender)
    message["To"] = recipient(delivery)
    message["Subject"] = text.subject
    message["Date"] = format_datetime(delivery.created_at)
    message["Message-ID"] = message_id(delivery, sender)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(text.text)
    message.add_alternative(text.html, subtype="html")
    return message


def recipient(delivery: Delivery) -> Address:
    """The account's contact. Raises CannotRender when the address is none."""
    try:
        address = Address(one_line(delivery.facts.contact_name or ""), addr_spec=delivery.target or "")
    except (ValueError, HeaderParseError, IndexError) as exc:
        raise CannotRender("invalid_recipient") from exc
    if not address.username or not address.domain or any(char.isspace() for char in address.addr_spec):
        raise CannotRender("invalid_recipient")
    return address


def bare_address(sender: str) -> str:
    """The envelope's sender: the address without its name."""
    return str(_address(sender).addr_spec)


def _address(sender: str) -> Address:
    name, address = parseaddr(sender)
    return Address(name, addr_spec=address)
