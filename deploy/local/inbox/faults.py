"""Faults that a test asks for: the next n calls fail in a chosen way, before or after the message was accepted."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field


class FaultKind(StrEnum):
    """``…_before`` loses the call; ``…_after`` accepts it and loses only the answer."""

    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    SLACK_ERROR = "slack_error"
    SMTP_REPLY = "smtp_reply"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    HANG_BEFORE = "hang_before"
    HANG_AFTER = "hang_after"


class Fault(BaseModel):
    """What goes wrong, where, and how often.

    ``method`` is a Slack method (``chat.postMessage``), ``webhook``, or an SMTP command (``MAIL``, ``RCPT``, ``DATA``);
    None is any that delivers. ``where`` is a Slack channel's name or an email address; None is any.
    """

    target: Literal["slack", "smtp"]
    kind: FaultKind
    times: Annotated[int, Field(ge=1)] = 1
    method: str | None = None
    where: str | None = None
    retry_after_seconds: int = 1
    status: int = 500
    slack_error: str = "fatal_error"
    smtp_reply: str = "451 4.3.0 Try again later"


class Faults:
    """The faults still to come, in the order in which they were asked for."""

    def __init__(self) -> None:
        self.planned: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self.planned.append(fault)

    def clear(self) -> None:
        self.planned.clear()

    def take(self, target: Literal["slack", "smtp"], method: str, where: str, delivers: bool) -> Fault | None:
        """The fault that this call meets, if any; it counts as used."""
        for fault in self.planned:
            if (
                fault.target == target
                and (fault.method == method if fault.method else delivers)
                and (fault.where is None or fault.where.lstrip("#").lower() == where.lstrip("#").lower())
            ):
                fault.times -= 1
                if fault.times == 0:
                    self.planned.remove(fault)
                return fault
        return None
