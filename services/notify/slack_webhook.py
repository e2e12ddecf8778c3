"""Slack by incoming webhook: one fixed channel, nothing to read back, so a lost answer stays a doubt."""

from __future__ import annotations

import aiohttp
from slack_sdk.webhook.async_client import AsyncWebhookClient

from services.notify import slack_message
from services.notify.domain.delivery import Delivery, Settling
from services.notify.domain.outcomes import Accepted, CannotTell, Deferred, Finding, Lost, Outcome
from services.notify.lease import Lease
from services.notify.slack_answers import outcome_of
from services.notify.slack_session import slack_session, speaking_under
from services.notify.templates import Templates


class SlackWebhook:
    """A Transport that settles by the workspace's policy."""

    settling = Settling.POLICY
    spacing_seconds = 1.0

    def __init__(self, *, url: str, timeout_seconds: float, templates: Templates) -> None:
        self._templates = templates
        self._timeout_seconds = timeout_seconds
        self._client = AsyncWebhookClient(url, retry_handlers=[])
        self._client.proxy = None

    def lane_of(self, _target: str) -> str:
        """All of them go to the channel that the webhook was made for."""
        return "incoming webhook"

    async def open(self) -> None:
        self._client.session = slack_session(self._timeout_seconds)

    async def close(self) -> None:
        if self._client.session is not None:
            await self._client.session.close()

    async def send(self, delivery: Delivery, lease: Lease) -> Outcome:
        message = slack_message.compose(delivery, self._templates)
        try:
            with speaking_under(lease):
                answer = await self._client.send_dict(
                    {"text": message.text, "blocks": message.blocks, "unfurl_links": False, "unfurl_media": False}
                )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            reason = "timeout" if isinstance(exc, TimeoutError) else type(exc).__name__
            return Lost(reason) if lease.left else Deferred(reason, whole_channel=True)
        if answer.status_code == 200 and answer.body == "ok":
            return Accepted(provider_id="")
        error = answer.body if answer.body.isidentifier() else None
        return outcome_of(answer.status_code, error, answer.headers.get("Retry-After"))

    async def look_up(self, _delivery: Delivery, _place: str | None) -> Finding:
        return CannotTell("incoming_webhook")
