"""The fixed words of our messages in one language, from ``config/messages/<language>/words.yaml``."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from libs.common.config_file import ConfigModel
from libs.common.events import Band

_PLACES = {
    "day": ("day", "month", "year"),
    "renewal_ahead": ("days", "day"),
    "renewal_past": ("days", "day"),
    "reason": ("title", "value", "threshold", "window"),
    "points": ("points",),
    "footer": ("playbook", "tier", "segment", "stage", "day"),
}
"""Phrases, and what may stand in braces in them."""


class Words(ConfigModel):
    """Labels and phrases that code puts around facts. Sentences for readers are in the templates beside."""

    bands: dict[Band, str]
    months: Annotated[list[str], Field(min_length=12, max_length=12)]
    day: str
    score: str
    arr: str
    renewal: str
    renewal_ahead: str
    renewal_past: str
    owner: str
    nobody: str
    unknown: str
    why: str
    reason: str
    points: str
    trend: str
    next: str
    footer: str

    @field_validator(*_PLACES)
    @classmethod
    def _names_what_there_is(cls, phrase: str, field: ValidationInfo) -> str:
        names = _PLACES[field.field_name or ""]
        try:
            phrase.format(**dict.fromkeys(names, ""))
        except (LookupError, ValueError, AttributeError) as exc:
            raise ValueError(f"only these may stand in braces: {', '.join(names)}") from exc
        return phrase

    @field_validator("bands")
    @classmethod
    def _names_every_band(cls, bands: dict[Band, str]) -> dict[Band, str]:
        if missing := [band.value for band in Band if band not in bands]:
            raise ValueError(f"there is no word for {', '.join(missing)}")
        return bands

    def date(self, day: date) -> str:
        """A day as people write it: 3 November 2026."""
        return self.day.format(day=day.day, month=self.months[day.month - 1], year=day.year)

    def band(self, band: Band | None) -> str:
        return self.bands[band] if band is not None else self.unknown
