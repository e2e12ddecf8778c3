"""A delivery's message as its reader sees it, for the API: rendered, and sent to nobody."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from libs.common.events import Channel
from services.notify import slack_message
from services.notify.domain.delivery import Delivery
from services.notify.templates import CannotRender, Templates


class SlackPreview(BaseModel):
    text: str
    blocks: list[dict[str, Any]]


class MailPreview(BaseModel):
    subject: str
    text: str
    html: str


MessagePreview = SlackPreview | MailPreview


def preview(delivery: Delivery, templates: Templates) -> MessagePreview | None:
    """None when today's templates cannot render it."""
    try:
        if delivery.channel is Channel.SLACK:
            slack = slack_message.compose(delivery, templates)
            return SlackPreview(text=slack.text, blocks=slack.blocks)
        mail = templates.mail(delivery.template, delivery.facts)
        return MailPreview(subject=mail.subject, text=mail.text, html=mail.html)
    except CannotRender:
        return None
