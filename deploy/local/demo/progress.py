"""How far the demo product has got, written down after every step so that it can be killed at any moment."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from deploy.local.home import read_json, write_private


class Phase(StrEnum):
    SENDING_HISTORY = "sending history"
    WAITING_FOR_HEALTH = "waiting for health"
    LIVE = "live"


class Progress(BaseModel):
    """``history`` counts the events of the ninety days, ``events_sent`` all that ingest has accepted so far, each once
    however often it was sent; ``sent_until`` is the domain time before which everything was accepted.

    A day of the story takes ``day_seconds``, until it arrives at now, from where on time is real. From domain time
    ``real_pace_from`` on, if that is set, a second is a second although it is not now.
    """

    model_config = ConfigDict(frozen=True)

    begins: AwareDatetime
    seed: int = 1
    day_seconds: float = 2.0
    phase: Phase = Phase.SENDING_HISTORY
    history: int = 0
    events_sent: int = 0
    sent_until: AwareDatetime
    real_pace_from: AwareDatetime | None = None

    @classmethod
    def read(cls, path: Path) -> Self | None:
        found = read_json(path)
        return None if found is None else cls.model_validate(found)

    def write(self, path: Path) -> None:
        write_private(path, self.model_dump(mode="json"))
