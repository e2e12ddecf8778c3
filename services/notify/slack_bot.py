"""Slack by bot token: posts with the delivery's id in the metadata, and can read back whether a message is there."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from services.notify import slack_message
from services.notify.domain.delivery import Delivery, Settling
from services.notify.domain.outcomes import Absent, Accepted, CannotTell, Deferred, Finding, Lost, Outcome, Refused
from services.notify.lease import Lease, LeaseRanOut
from services.notify.slack_answers import outcome_of
from services.notify.slack_session import slack_session, speaking_under
from services.notify.templates import Templates

CHANNEL_ID = re.compile(r"[CGD][A-Z0-9]{6,}")
CLOCK_SKEW = timedelta(minutes=10)
"""Slack's timestamps are Slack's clock: the history is read from this much before the delivery was made."""
MAY_NOT_READ = {"missing_scope", "not_in_channel"}
"""Errors of reading that no waiting mends, while posting may work."""
PAGE = 200
PAGES_MOST = 50


class SlackBot:
    """A Transport that settles by looking up."""

    settling = Settling.LOOK_UP
    spacing_seconds = 1.0

    def __init__(self, *, token: str, api_url: str, timeout_seconds: float, templates: Templates) -> None:
        self._templates = templates
        self._timeout_seconds = timeout_seconds
        # The client's own retries post twice when a connection drops after acceptance, so there are none.
        self._client = AsyncWebClient(token=token, base_url=api_url, retry_handlers=[])
        # Proxies are left to the session, which also knows which hosts need none.
        self._client.proxy = None

    def lane_of(self, target: str) -> str:
        return target.removeprefix("#").lower() if target.startswith("#") else target

    async def open(self) -> None:
        self._client.session = slack_session(self._timeout_seconds)

    async def close(self) -> None:
        if self._client.session is not None:
            await self._client.session.close()

    async def send(self, delivery: Delivery, lease: Lease) -> Outcome:
        message = slack_message.compose(delivery, self._templates)
        try:
            with speaking_under(lease):
                answer = await self._client.chat_postMessage(
                    channel=delivery.target or "",
                    text=message.text,
                    blocks=message.blocks,
                    metadata=slack_message.metadata(delivery),
                    parse="none",
                    link_names=False,
                    unfurl_links=False,
                    unfurl_media=False,
                )
        except SlackApiError as exc:
            return _judged(exc)
        except LeaseRanOut:
            raise
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            # Before the first byte nothing can have happened; after it, anything.
            return Lost(_name(exc)) if lease.left else Deferred(_name(exc), whole_channel=True)
        return Accepted(provider_id=str(answer["ts"]), place=str(answer["channel"]))

    async def look_up(self, delivery: Delivery, place: str | None) -> Finding:
        try:
            channel = await self._channel_id(delivery.target or "", place)
            if channel is None:
                return CannotTell("channel_not_found")
            return await self._in_history(delivery, channel)
        except SlackApiError as exc:
            outcome = _judged(exc)
            never = isinstance(outcome, Refused) or outcome.reason in MAY_NOT_READ
            return (
                CannotTell(outcome.reason) if never else Deferred(outcome.reason, retry_after_seconds=_asked(outcome))
            )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as exc:
            return Deferred(_name(exc))

    async def _channel_id(self, target: str, place: str | None) -> str | None:
        """Posting takes a name, reading wants an id: the one that Slack gave us before, or that its list has."""
        if CHANNEL_ID.fullmatch(target):
            return target
        if place is not None:
            return place
        try:
            return await self._listed(target.removeprefix("#"), "public_channel,private_channel")
        except SlackApiError as exc:
            if _judged(exc).reason != "missing_scope":
                raise
            return await self._listed(target.removeprefix("#"), "public_channel")

    async def _listed(self, name: str, types: str) -> str | None:
        cursor = ""
        for _ in range(PAGES_MOST):
            page = await self._client.conversations_list(types=types, exclude_archived=True, limit=PAGE, cursor=cursor)
            for channel in page["channels"]:
                if channel["name"] == name:
                    return str(channel["id"])
            if not (cursor := _next(page)):
                return None
        return None

    async def _in_history(self, delivery: Delivery, channel: str) -> Finding:
        wanted = str(delivery.id)
        oldest, cursor = f"{(delivery.created_at - CLOCK_SKEW).timestamp():.6f}", ""
        for _ in range(PAGES_MOST):
            page = await self._client.conversations_history(
                channel=channel, oldest=oldest, limit=PAGE, cursor=cursor, include_all_metadata=True
            )
            for message in page["messages"]:
                metadata = message.get("metadata") or {}
                if (metadata.get("event_payload") or {}).get("delivery_id") == wanted:
                    return Accepted(provider_id=str(message["ts"]), place=channel)
            if not (cursor := _next(page)):
                return Absent()
        return CannotTell("history_too_long")


def _judged(exc: SlackApiError) -> Deferred | Refused | Lost:
    """slack_sdk puts a response of its own or one of aiohttp's into the exception."""
    response: Any = exc.response
    status = int(getattr(response, "status_code", 0) or getattr(response, "status", 0))
    body = getattr(response, "data", None)
    error = body.get("error") if isinstance(body, dict) else None
    return outcome_of(status, error, response.headers.get("Retry-After"))


def _asked(outcome: Deferred | Refused | Lost) -> float | None:
    return outcome.retry_after_seconds if isinstance(outcome, Deferred) else None


def _next(page: Any) -> str:
    return str((page.get("response_metadata") or {}).get("next_cursor") or "")


def _name(exc: Exception) -> str:
    return "timeout" if isinstance(exc, TimeoutError) else type(exc).__name__
