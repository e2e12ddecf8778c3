"""What a provider's answer says about a message, and what asking it afterwards can find."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Accepted:
    """The provider has it. ``provider_id`` is its name for the message; ``place`` where it can be looked up later."""

    provider_id: str
    place: str | None = None


@dataclass(frozen=True)
class Deferred:
    """The provider certainly does not have it and may take it later.

    ``whole_channel`` says that no message to this target would be taken now.
    """

    reason: str
    whole_channel: bool = False
    retry_after_seconds: float | None = None


@dataclass(frozen=True)
class Refused:
    """The provider does not have it and never will. ``dead_address``: nothing should be sent there again."""

    reason: str
    dead_address: bool = False


@dataclass(frozen=True)
class Lost:
    """The call ended without an answer, or with one that leaves open whether the provider has the message."""

    reason: str


Outcome = Accepted | Deferred | Refused | Lost


@dataclass(frozen=True)
class Absent:
    """The provider was asked and does not have the message."""


@dataclass(frozen=True)
class CannotTell:
    """The provider will not say, now or later, whether it has the message."""

    reason: str


Finding = Accepted | Absent | CannotTell | Deferred
