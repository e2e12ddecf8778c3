"""What was delivered, kept as JSON lines: a line is written before the sender hears of success."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

KEPT = 5000
"""Messages that are remembered; the file keeps all of them."""


class SlackMessage(BaseModel):
    """One message in a Slack channel as it reads now. ``ts`` is its id within the channel, as in Slack."""

    channel: Literal["slack"] = "slack"
    id: str
    seq: int = 0
    received_at: datetime
    via: Literal["bot_token", "incoming_webhook"]
    channel_name: str
    channel_id: str
    ts: str
    thread_ts: str | None = None
    text: str = ""
    blocks: list[dict[str, Any]] = []
    attachments: list[dict[str, Any]] = []
    metadata: dict[str, Any] | None = None
    edited_at: datetime | None = None
    edits: int = 0


class Email(BaseModel):
    """One accepted mail. ``source`` is every byte that was sent, as latin-1; ``recipients`` are the envelope's."""

    channel: Literal["email"] = "email"
    id: str
    seq: int = 0
    received_at: datetime
    sender: str
    recipients: list[str]
    subject: str
    message_id: str | None
    headers: dict[str, str]
    text: str
    html: str
    source: str


Message = Annotated[SlackMessage | Email, Field(discriminator="channel")]
_line: TypeAdapter[SlackMessage | Email] = TypeAdapter(Message)


class Messages:
    """Everything delivered, oldest first. ``seq`` grows with every delivery and every edit."""

    def __init__(self, journal: Path | None = None) -> None:
        self._messages: OrderedDict[str, SlackMessage | Email] = OrderedDict()
        self._journal = journal
        self.seq = 0
        if journal is not None:
            journal.parent.mkdir(parents=True, exist_ok=True)
            self._read(journal)

    def _read(self, journal: Path) -> None:
        """A process killed while writing leaves half a line, whose sender never heard of success: it is cut off."""
        whole = 0
        for line in journal.read_bytes().splitlines(keepends=True) if journal.exists() else []:
            try:
                message = _line.validate_json(line)
            except ValidationError:
                break
            whole += len(line)
            self._remember(message)
        with journal.open("ab") as file:
            file.truncate(whole)

    def put(self, message: SlackMessage | Email) -> None:
        """Add a message, or replace the one with the same id."""
        message = message.model_copy(update={"seq": self.seq + 1})
        if self._journal is not None:
            with self._journal.open("ab") as file:
                file.write(message.model_dump_json().encode() + b"\n")
        self._remember(message)

    def _remember(self, message: SlackMessage | Email) -> None:
        self.seq = message.seq
        self._messages[message.id] = message
        if len(self._messages) > KEPT:
            self._messages.popitem(last=False)

    def all(self) -> list[SlackMessage | Email]:
        return list(self._messages.values())

    def find(self, message_id: str) -> SlackMessage | Email | None:
        return self._messages.get(message_id)

    def slack(self, channel_id: str | None = None) -> list[SlackMessage]:
        """Slack messages, oldest first, of one channel or of all."""
        return [
            message
            for message in self._messages.values()
            if isinstance(message, SlackMessage) and channel_id in (None, message.channel_id)
        ]

    def emails(self) -> list[Email]:
        return [message for message in self._messages.values() if isinstance(message, Email)]
