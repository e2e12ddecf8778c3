"""Facts rolled up from single calls in plain Python: the reference for whatever does it faster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

from services.health.domain import (
    ACTIVE_DAYS_KEPT,
    AccountFacts,
    ActiveDay,
    DailyCount,
    HealthModel,
    Occurrence,
    Scalar,
    day_of,
)
from tests.unit.health.story import Use


class Ledger:
    """What has happened to one account so far."""

    def __init__(self, account_id: str, traits: Mapping[str, Scalar], model: HealthModel) -> None:
        self._account_id = account_id
        self._traits = traits
        self._model = model
        self._counts: dict[tuple[date, str], DailyCount] = {}
        self._active: dict[date, ActiveDay] = {}
        self._people: dict[date, set[str]] = {}
        self._occurrences: list[Occurrence] = []
        self._first_seen_at: datetime | None = None

    def add(self, calls: Iterable[Use]) -> None:
        for call in calls:
            day = day_of(call.at)
            row = self._counts.get((day, call.event), DailyCount(day, call.event, 0, call.at, call.at))
            self._counts[day, call.event] = DailyCount(
                day, call.event, row.count + 1, min(row.first_at, call.at), max(row.last_at, call.at)
            )
            self._first_seen_at = min(self._first_seen_at or call.at, call.at)
            if self._model.activity.event_counts(call.event):
                self._people.setdefault(day, set()).add(call.person)
                seen = self._active.get(day, ActiveDay(day, call.at, call.at))
                self._active[day] = ActiveDay(day, min(seen.first_at, call.at), max(seen.last_at, call.at))

    def occurred(self, occurrence: Occurrence) -> None:
        self._occurrences.append(occurrence)

    def facts(self, as_of: datetime) -> AccountFacts:
        today = day_of(as_of)
        oldest = today - timedelta(days=self._model.days_of_history)
        return AccountFacts(
            account_id=self._account_id,
            first_seen_at=self._first_seen_at,
            traits=self._traits,
            counts=tuple(row for row in self._counts.values() if row.day >= oldest),
            active_people={
                window: len(
                    set().union(*(self._people.get(today - timedelta(days=back), ()) for back in range(1, window + 1)))
                )
                for window in self._model.people_windows
            },
            active_days=tuple(sorted(self._active.values())[-ACTIVE_DAYS_KEPT:]),
            occurrences=tuple(self._occurrences),
        )
