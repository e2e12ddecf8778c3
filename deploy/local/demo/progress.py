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
    """``sent_until`` is domain time: everything before it was accepted. ``history`` counts the events of the ninety
    days, ``events_sent`` all that ingest has accepted so far, each once however often it was sent. From domain time
    ``real_pace_from`` on, if set, a second is a second; else the story runs on until it arrives at now."""

    model_config = ConfigDict(frozen=True)

    begins: AwareDatetime
    seed: int = 1
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
