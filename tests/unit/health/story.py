"""The shape of the demo's story, pure and seeded: twelve accounts, 90 days of history and 30 days that follow.

Not the demo itself, whose world is richer and is judged beside it: this is the plain shape that the default model must
tell apart. For full marks an account has weekdays busier than weekends, people for 60 % of its seats, four events.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum

from services.health.domain import Scalar

HISTORY_DAYS = 90
STORY_DAYS = 30
EVENTS = ("Page Viewed", "Report Created", "Report Exported", "Dashboard Viewed", "Teammate Mentioned")


class Fate(StrEnum):
    STEADY = "steady"
    DECLINES = "declines"
    FALLS_SILENT = "falls_silent"
    OPENS_URGENT_TICKET = "opens_urgent_ticket"
    GROWS = "grows"


@dataclass(frozen=True)
class Character:
    """``calls`` a day on a weekday of its history, by ``people`` people. ``turns_on`` is the day of the story (0 is
    the first after the history) on which its fate begins."""

    account_id: str
    people: int
    calls: float
    seats: int
    fate: Fate = Fate.STEADY
    turns_on: int = 0
    traits: Mapping[str, Scalar] = field(default_factory=dict)

    def level(self, day: int) -> float:
        """Usage on a day of the story, against what it was."""
        since = day - self.turns_on
        if since < 0:
            return 1.0
        match self.fate:
            case Fate.DECLINES:
                return max(0.35, 1 - 0.65 * (since + 1) / 21)
            case Fate.FALLS_SILENT:
                return 0.0
            case Fate.GROWS:
                return min(1.6, 1 + 0.02 * since)
            case Fate.STEADY | Fate.OPENS_URGENT_TICKET:
                return 1.0


CAST = (
    Character(
        "aoi-heavy-industries", 40, 90, 60, Fate.DECLINES, 1, {"plan": "enterprise", "arr": 180_000, "seats": 60}
    ),
    Character("hinoki-books", 4, 8, 5, Fate.FALLS_SILENT, 9, {"plan": "starter", "arr": 2_400, "seats": 5}),
    Character("sora-logistics", 15, 30, 20, Fate.OPENS_URGENT_TICKET, 12, {"arr": 24_000, "seats": 20}),
    Character("midori-foods", 12, 25, 25, Fate.GROWS, 3, {"arr": 30_000, "seats": 25}),
    Character("kaze-energy", 30, 70, 45, traits={"plan": "enterprise", "arr": 120_000, "seats": 45}),
    Character("yama-bank", 25, 55, 40, traits={"arr": 90_000, "seats": 40}),
    Character("umi-travel", 10, 20, 15, traits={"arr": 18_000, "seats": 15}),
    Character("tsuki-media", 8, 16, 12, traits={"arr": 15_000, "seats": 12}),
    Character("hoshi-games", 9, 18, 14, traits={"arr": 14_000, "seats": 14}),
    Character("kawa-clinic", 5, 10, 8, traits={"arr": 6_000, "seats": 8}),
    Character("mori-architects", 3, 6, 5, traits={"arr": 3_600, "seats": 5}),
    Character("ishi-pottery", 3, 6, 4, traits={"arr": 2_000, "seats": 4}),
)


@dataclass(frozen=True)
class Use:
    """One call of one person."""

    person: str
    event: str
    at: datetime


def uses(character: Character, story_begins: date, seed: int) -> Iterator[Use]:
    """All calls of an account from the beginning of its history to the end of the story, day by day."""
    dice = random.Random(f"{seed} {character.account_id}")
    for day in range(-HISTORY_DAYS, STORY_DAYS):
        on = story_begins + timedelta(days=day)
        weekend = 0.12 if on.weekday() >= 5 else 1.0
        mood = dice.uniform(0.8, 1.2)
        for _ in range(_poisson(dice, character.calls * weekend * mood * character.level(day))):
            yield Use(
                person=f"{character.account_id}-{dice.randrange(character.people)}",
                event=dice.choices(EVENTS, weights=(6, 2, 1, 3, 1))[0],
                at=datetime.combine(on, time(8), UTC) + timedelta(seconds=dice.randrange(10 * 3600)),
            )


def _poisson(dice: random.Random, mean: float) -> int:
    """Waiting times that follow each other until one unit of time is over."""
    drawn, waited = 0, dice.expovariate(1)
    while waited < mean:
        drawn += 1
        waited += dice.expovariate(1)
    return drawn
