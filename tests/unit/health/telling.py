"""The story told by the rules: every account judged whenever something is heard and whenever its own moment comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby

from libs.common.events import Band
from services.health.domain import Assessment, Occurrence, Rulebook, Standing, assess
from tests.unit.health.gather import Ledger
from tests.unit.health.story import STORY_DAYS, Character, Fate, Use, uses

News = Sequence[Use | Occurrence]


@dataclass
class Told:
    """What happened to one account after ``baseline``. Numbers are days of the story; points are tenths."""

    baseline: Assessment
    bands: list[tuple[int, Band]] = field(default_factory=list)
    silent_on: list[int] = field(default_factory=list)
    ticket_cost: int | None = None


def tell(character: Character, begins: date, rules: Rulebook, seed: int) -> Told:
    midnight = datetime.combine(begins, time(), UTC)
    ledger = Ledger(character.account_id, character.traits, rules.model)
    calls = sorted(uses(character, begins, seed), key=lambda call: call.at)
    ledger.add(call for call in calls if call.at < midnight)
    last = assess(ledger.facts(midnight), Standing(), rules, midnight)
    told = Told(baseline=last)

    def judge(as_of: datetime) -> Assessment:
        now = assess(ledger.facts(as_of), last.standing, rules, as_of)
        day = (as_of - midnight).days
        if now.band_changed and now.band is not None:
            told.bands.append((day, now.band))
        if now.went_silent:
            told.silent_on.append(day)
        return now

    for heard_at, news in _heard(character, midnight, [call for call in calls if call.at >= midnight]):
        while last.next_moment < heard_at:
            last = judge(last.next_moment)
        ledger.add(one for one in news if isinstance(one, Use))
        if tickets := [one for one in news if isinstance(one, Occurrence)]:
            before = judge(heard_at).scorecard.score
            ledger.occurred(tickets[0])
            after = judge(heard_at).scorecard.score
            assert before is not None
            assert after is not None
            told.ticket_cost = before - after
        last = judge(heard_at)
    return told


def _heard(character: Character, midnight: datetime, calls: Sequence[Use]) -> Iterator[tuple[datetime, News]]:
    """What is heard together, and when: calls every three hours, a ticket alone; at the end nothing any more."""
    heard: list[tuple[datetime, News]] = [
        (window + timedelta(hours=3), list(together))
        for window, together in groupby(
            calls, key=lambda call: call.at.replace(hour=call.at.hour // 3 * 3, minute=0, second=0)
        )
    ]
    if character.fate is Fate.OPENS_URGENT_TICKET:
        at = midnight + timedelta(days=character.turns_on, hours=10)
        heard.append((at, [Occurrence("Ticket Opened", at, "t-1", {"ticket_id": "T-1", "priority": "urgent"})]))
    yield from sorted(heard, key=lambda one: one[0])
    yield midnight + timedelta(days=STORY_DAYS), []
