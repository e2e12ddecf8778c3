"""What becomes of a touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import assert_never

from libs.common.events import TouchDelivered, TouchFailed, TouchSuppressed

Result = TouchDelivered | TouchFailed | TouchSuppressed


class TouchState(StrEnum):
    """In rising order: whatever order results arrive in, the highest stays. That somebody was told outranks all."""

    REQUESTED = "requested"
    CANCELLED = "cancelled"  # we took it back; notify has not confirmed it
    SUPPRESSED = "suppressed"
    FAILED = "failed"
    DELIVERED = "delivered"

    @property
    def rank(self) -> int:
        return list(TouchState).index(self)


@dataclass(frozen=True)
class Settlement:
    """What a result says about its touch. ``at`` is domain time."""

    workspace: int
    touch_id: str
    state: TouchState
    at: datetime
    reason: str | None = None
    provider_id: str | None = None

    @classmethod
    def by(cls, result: Result) -> Settlement:
        settled = partial(cls, result.workspace, result.touch_id, at=result.at)
        match result:
            case TouchDelivered():
                return settled(state=TouchState.DELIVERED, provider_id=result.provider_id)
            case TouchFailed():
                return settled(state=TouchState.FAILED, reason=result.reason)
            case TouchSuppressed():
                return settled(state=TouchState.SUPPRESSED, reason=result.reason)
            case _:
                assert_never(result)


def settlements(results: Sequence[Result]) -> list[Settlement]:
    """One for each touch that the results are about, ordered by touch."""
    found: dict[tuple[int, str], Settlement] = {}
    for settlement in map(Settlement.by, results):
        key = (settlement.workspace, settlement.touch_id)
        if key not in found or found[key].state.rank < settlement.state.rank:
            found[key] = settlement
    return [found[key] for key in sorted(found)]
