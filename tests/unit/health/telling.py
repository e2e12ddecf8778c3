"""The story told by the rules: every account judged whenever something is heard and whenever its own moment comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby

from libs.common.events import Band
from services.health.domain import Assessment, Occurrence, Rulebook, Standing, assess
from tests.unit.health.gather import Ledger
from tests.unit.health.story import STORY_DAYS, Character, Fate, uses


@dataclass
class Told:
    """What happened to one account. Numbers are days of the story, scores are tenths."""

    bands: list[tuple[int, Band]] = field(default_factory=list)
    silent_on: list[int] = field(default_factory=list)
    scores: list[tuple[datetime, int]] = field(default_factory=list)
    ticket_cost: int | None = None
    baseline: Assessment | None = None


def tell(character: Character, begins: date, rules: Rulebook, seed: int) -> Told:
    """Live calls are judged in groups of three hours."""
    told = Told()
    ledger = Ledger(character.account_id, character.traits, rules.model)
    midnight = datetime.combine(begins, time(), UTC)
    end = midnight + timedelta(days=STORY_DAYS)
    calls = sorted(uses(character, begins, seed), key=lambda call: call.at)
    ledger.add(call for call in calls if call.at < midnight)

    last = told.baseline = assess(ledger.facts(midnight), Standing(), rules, midnight)
    news = [
        (hour + timedelta(hours=3), list(group))
        for hour, group in groupby(
            (call for call in calls if call.at >= midnight),
            key=lambda call: call.at.replace(hour=call.at.hour // 3 * 3, minute=0, second=0),
        )
    ]
    ticket_at = midnight + timedelta(days=character.turns_on, hours=10)
    if character.fate is Fate.OPENS_URGENT_TICKET:
        news.append((ticket_at, []))
        news.sort(key=lambda one: one[0])

    while True:
        heard = news[0][0] if news else end
        as_of = min(heard, last.next_moment)
        if as_of >= end:
            return told
        if as_of == heard:
            ledger.add(news.pop(0)[1])
        if as_of == ticket_at and character.fate is Fate.OPENS_URGENT_TICKET:
            before = assess(ledger.facts(as_of), last.standing, rules, as_of).scorecard.score
            ledger.occurred(Occurrence("Ticket Opened", as_of, "t-1", {"ticket_id": "T-1", "priority": "urgent"}))
        now = assess(ledger.facts(as_of), last.standing, rules, as_of)
        assert now.scorecard.score is not None
        if as_of == ticket_at and character.fate is Fate.OPENS_URGENT_TICKET:
            assert before is not None
            told.ticket_cost = before - now.scorecard.score
        day = (as_of - midnight).days
        if now.band_changed and now.band is not None:
            told.bands.append((day, now.band))
        if now.went_silent:
            told.silent_on.append(day)
        told.scores.append((as_of, now.scorecard.score))
        last = now
