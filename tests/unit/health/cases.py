"""What the tests of the rules share: moments, a small model, and strategies for facts."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from services.health.domain import AccountFacts, ActiveDay, DailyCount, HealthModel, Occurrence, day_of
from tests.unit.health.configuration import shipped_rules

NOW = datetime(2026, 3, 18, 15, 0, tzinfo=UTC)  # a Wednesday
TODAY = day_of(NOW)
RULES = shipped_rules()

properly = settings(deadline=None, max_examples=150)
"""For properties: the machine may be busy, so no example has a deadline."""


def back(days: int, hour: int = 12) -> datetime:
    """A moment so many days before today."""
    return datetime.combine(TODAY - timedelta(days=days), time(hour), UTC)


def used(days_back: int, count: int = 1, event: str = "Page Viewed") -> DailyCount:
    return DailyCount(TODAY - timedelta(days=days_back), event, count, back(days_back, 9), back(days_back, 17))


def active(days_back: int) -> ActiveDay:
    return ActiveDay(TODAY - timedelta(days=days_back), back(days_back, 9), back(days_back, 17))


def account(**known: Any) -> AccountFacts:
    """An account that is old enough for everything, and of which only ``known`` is known."""
    return AccountFacts(**{"account_id": "aoi", "first_seen_at": back(200), **known})


def ticket(number: str, days_back: int, priority: str = "urgent", hour: int = 10) -> Occurrence:
    return Occurrence(
        "Ticket Opened",
        back(days_back, hour),
        f"opened-{number}-{days_back}-{hour}",
        {"ticket_id": number, "priority": priority},
    )


def closed(number: str, days_back: int, hour: int = 10) -> Occurrence:
    return Occurrence(
        "Ticket Closed", back(days_back, hour), f"closed-{number}-{days_back}-{hour}", {"ticket_id": number}
    )


def one_measure(**measure: Any) -> HealthModel:
    """A model of one measure, with the shipped rules for all else."""
    return HealthModel.model_validate(
        {
            **RULES.model.model_dump(by_alias=True),
            "dimensions": [
                {
                    "id": "only",
                    "title": "Only",
                    "weight": 100,
                    "measures": [{"id": "one", "title": "One", "weight": 100, **measure}],
                }
            ],
        }
    )


# --- strategies --------------------------------------------------------------------------------------------------

_events = st.sampled_from(["Page Viewed", "Report Created", "Report Exported", "$identify", "Ticket Opened"])
_days_back = st.integers(0, 100)


@st.composite
def facts(draw: st.DrawFn) -> AccountFacts:
    """Any account at `NOW`: young, old, dormant, busy, with and without seats, tickets open and closed."""
    rows = draw(st.dictionaries(st.tuples(_days_back, _events), st.integers(0, 40), max_size=40))
    opened = draw(st.lists(st.tuples(st.sampled_from("ABC"), _days_back, st.sampled_from(["urgent", "low"]))))
    shut = draw(st.lists(st.tuples(st.sampled_from("ABC"), _days_back)))
    days = draw(st.sets(_days_back, max_size=30))
    return AccountFacts(
        account_id=draw(st.sampled_from(["aoi", "hinoki", "sora"])),
        first_seen_at=draw(st.none() | st.integers(0, 400).map(back)),
        traits=draw(st.sampled_from([{}, {"seats": 10}, {"seats": "0"}, {"seats": "many"}, {"seats": 2.5}])),
        counts=tuple(used(days_back, count, event) for (days_back, event), count in rows.items()),
        active_people={28: draw(st.integers(0, 20))},
        active_days=tuple(active(days_back) for days_back in days),
        occurrences=(
            *(ticket(number, days_back, priority) for number, days_back, priority in opened),
            *(closed(number, days_back, 11) for number, days_back in shut),
        ),
    )


def dates(within_days: int = 12) -> st.SearchStrategy[date]:
    return st.dates(TODAY - timedelta(days=within_days), TODAY)
