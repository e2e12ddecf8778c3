"""How Slack answers: channels, timestamps, limits and errors of the few methods that a notifier needs."""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from base64 import b32encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from deploy.local.inbox.block_kit import problems_of
from deploy.local.inbox.messages import Messages, SlackMessage

TEXT_LIMIT = 40_000
METADATA_BYTES = 16 * 1024
MESSAGES_PER_SECOND = 1.0
MESSAGE_BURST = 3
READS_PER_SECOND = 50 / 60
READ_BURST = 50
LISTS_PER_SECOND = 20 / 60
LIST_BURST = 20
BOT = {"user": "U0KIZASHI", "bot_id": "B0KIZASHI", "app_id": "A0KIZASHI", "team": "T0KIZASHI"}


class SlackError(Exception):
    """An answer with ``"ok": false``; ``code`` is Slack's name of the error."""

    def __init__(self, code: str, **details: Any) -> None:
        super().__init__(code)
        self.code = code
        self.details = details


class RateLimited(Exception):
    """HTTP 429. ``seconds`` is a whole number, as Slack's ``Retry-After`` is."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"retry after {seconds} s")
        self.seconds = seconds


class Slack:
    """A Slack workspace with one bot. Every well-formed channel name exists, or exactly those of ``channels``.

    ``now`` is real time in seconds since 1970: message timestamps come from it, and allowances grow with it.
    """

    def __init__(
        self,
        messages: Messages,
        *,
        token: str,
        channels: frozenset[str] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._messages = messages
        self._token = token
        self._channels = channels
        self._now = now
        self._names: dict[str, str] = {}
        self._allowances: dict[str, tuple[float, float]] = {}
        self._last_ts = 0
        for message in messages.slack():
            self._names[message.channel_id] = message.channel_name
            self._last_ts = max(self._last_ts, _microseconds(message.ts))

    # --- who and where ---

    def authorise(self, token: str | None) -> None:
        if not token:
            raise SlackError("not_authed")
        if token != self._token:
            raise SlackError("invalid_auth")

    def name_of(self, channel: object) -> str:
        """The name of the channel that a call names by ``#name``, ``name`` or id. Raises channel_not_found."""
        wanted = str(channel or "")
        if wanted in self._names:
            return self._names[wanted]
        name = wanted.removeprefix("#")
        exists = name in self._channels if self._channels is not None else re.fullmatch(r"[\w-]{1,80}", name)
        if not exists or name != name.lower():
            raise SlackError("channel_not_found")
        return name

    def _id_of(self, name: str) -> str:
        channel_id = "C" + b32encode(hashlib.sha256(name.encode()).digest())[:10].decode()
        self._names[channel_id] = name
        return channel_id

    def _known(self, channel: object) -> str:
        """Methods that read or change want an id; a name is not found, as in Slack."""
        if str(channel) not in self._names:
            raise SlackError("channel_not_found")
        return str(channel)

    # --- methods ---

    def auth_test(self) -> dict[str, Any]:
        return {"url": "https://local.slack.com/", "team": "Local", "team_id": BOT["team"], "user": "kizashi"} | {
            "user_id": BOT["user"],
            "bot_id": BOT["bot_id"],
        }

    def post(self, arguments: dict[str, Any], via_webhook: bool = False) -> dict[str, Any]:
        """``chat.postMessage``: {"channel": id, "ts": …, "message": {…}}."""
        name = self.name_of(arguments.get("channel"))
        content = _content(arguments)
        self._spend(f"post {name}", MESSAGES_PER_SECOND, MESSAGE_BURST)
        channel_id, ts = self._id_of(name), self._next_ts()
        message = SlackMessage(
            id=f"{channel_id}-{ts}",
            received_at=datetime.now(UTC),
            via="incoming_webhook" if via_webhook else "bot_token",
            channel_name=f"#{name}",
            channel_id=channel_id,
            ts=ts,
            thread_ts=arguments.get("thread_ts"),
            **content,
        )
        self._messages.put(message)
        return {"channel": channel_id, "ts": ts, "message": _as_slack_shows(message)}

    def update(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """``chat.update``: what is not given stays as it was, but new text without blocks removes the blocks."""
        channel_id = self._known(arguments.get("channel"))
        found = self._messages.find(f"{channel_id}-{arguments.get('ts')}")
        if not isinstance(found, SlackMessage):
            raise SlackError("message_not_found")
        if found.via != "bot_token":
            raise SlackError("cant_update_message")
        content = _content(arguments)
        if "metadata" not in arguments:
            content["metadata"] = found.metadata
        self._spend("update", READS_PER_SECOND, READ_BURST)
        changed = found.model_copy(update={**content, "edited_at": datetime.now(UTC), "edits": found.edits + 1})
        self._messages.put(changed)
        return {"channel": channel_id, "ts": found.ts, "text": changed.text, "message": _as_slack_shows(changed)}

    def channels(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """``conversations.list`` by name; where every name exists, those that somebody has posted to."""
        self._spend("list", LISTS_PER_SECOND, LIST_BURST)
        names = sorted(self._channels if self._channels is not None else set(self._names.values()))
        start, limit = int(arguments.get("cursor") or 0), min(1000, max(1, int(arguments.get("limit") or 100)))
        page = [{"id": self._id_of(name), "name": name, "is_channel": True} for name in names[start : start + limit]]
        following = str(start + limit) if start + limit < len(names) else ""
        return {"channels": page, "response_metadata": {"next_cursor": following}}

    def history(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """``conversations.history``, newest first; metadata only when ``include_all_metadata`` asks for it."""
        channel_id = self._known(arguments.get("channel"))
        self._spend("history", READS_PER_SECOND, READ_BURST)
        messages = [one for one in self._messages.slack(channel_id) if one.thread_ts in (None, one.ts)]
        return _page(messages[::-1], arguments)

    def replies(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """``conversations.replies``: the parent and what was said below it, oldest first."""
        channel_id = self._known(arguments.get("channel"))
        self._spend("replies", READS_PER_SECOND, READ_BURST)
        parent = arguments.get("ts")
        messages = [one for one in self._messages.slack(channel_id) if parent in (one.ts, one.thread_ts)]
        if not messages:
            raise SlackError("thread_not_found")
        return _page(messages, arguments)

    # --- limits ---

    def _spend(self, what: str, per_second: float, burst: int) -> None:
        now = self._now()
        left, since = self._allowances.get(what, (float(burst), now))
        left = min(float(burst), left + (now - since) * per_second)
        if left < 1:
            self._allowances[what] = (left, now)
            raise RateLimited(max(1, math.ceil((1 - left) / per_second)))
        self._allowances[what] = (left - 1, now)

    def _next_ts(self) -> str:
        """Unique and growing, also when the clock stands still or steps back."""
        self._last_ts = max(self._last_ts + 1, int(self._now() * 1_000_000))
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"


def _microseconds(ts: str) -> int:
    seconds, _, rest = ts.partition(".")
    return int(seconds) * 1_000_000 + int((rest + "000000")[:6])


def _content(arguments: dict[str, Any]) -> dict[str, Any]:
    """Text, blocks, attachments and metadata of a call, checked as Slack checks them."""
    text = str(arguments.get("text") or "")
    blocks = _parsed(arguments.get("blocks"), "invalid_blocks_format") or []
    attachments = _parsed(arguments.get("attachments"), "invalid_attachments") or []
    metadata = _parsed(arguments.get("metadata"), "invalid_metadata_format")
    if not text and not blocks and not attachments:
        raise SlackError("no_text")
    if len(text) > TEXT_LIMIT:
        raise SlackError("msg_too_long")
    if problems := problems_of(blocks):
        raise SlackError("invalid_blocks", response_metadata={"messages": problems}, errors=problems)
    if metadata is not None:
        if not (
            isinstance(metadata, dict)
            and isinstance(metadata.get("event_type"), str)
            and isinstance(metadata.get("event_payload"), dict)
        ):
            raise SlackError("invalid_metadata_format")
        if len(json.dumps(metadata).encode()) > METADATA_BYTES:
            raise SlackError("metadata_too_large")
    return {"text": text, "blocks": blocks, "attachments": attachments, "metadata": metadata}


def _parsed(value: Any, error: str) -> Any:
    """Forms carry structures as JSON text, JSON bodies carry them as they are."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise SlackError(error) from None


def _as_slack_shows(message: SlackMessage, with_metadata: bool = True) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": "message", **BOT, "ts": message.ts, "text": message.text}
    if message.via == "incoming_webhook":
        shown["subtype"] = "bot_message"
    if message.blocks:
        shown["blocks"] = message.blocks
    if message.attachments:
        shown["attachments"] = message.attachments
    if message.thread_ts:
        shown["thread_ts"] = message.thread_ts
    if message.edited_at:
        shown["edited"] = {"user": BOT["user"], "ts": f"{message.edited_at.timestamp():.6f}"}
    if with_metadata and message.metadata:
        shown["metadata"] = message.metadata
    return shown


def _page(messages: list[SlackMessage], arguments: dict[str, Any]) -> dict[str, Any]:
    oldest = _microseconds(str(arguments.get("oldest") or "0"))
    latest = _microseconds(str(arguments.get("latest") or "99999999999"))
    inclusive = _is_true(arguments.get("inclusive"))
    limit = min(999, max(1, int(arguments.get("limit") or 100)))
    cursor = str(arguments.get("cursor") or "")
    within = [
        one
        for one in messages
        if oldest < _microseconds(one.ts) < latest or (inclusive and _microseconds(one.ts) in (oldest, latest))
    ]
    if cursor:
        places = [number for number, one in enumerate(within) if f"next:{one.ts}" == cursor]
        if not places:
            raise SlackError("invalid_cursor")
        within = within[places[0] :]
    page, rest = within[:limit], within[limit:]
    shown = [_as_slack_shows(one, _is_true(arguments.get("include_all_metadata"))) for one in page]
    following = f"next:{rest[0].ts}" if rest else ""
    return {"messages": shown, "has_more": bool(rest), "response_metadata": {"next_cursor": following}}


def _is_true(value: Any) -> bool:
    return str(value).lower() in ("1", "true", "t")
