from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.health.domain import Calendar
from tests.unit.health.cases import properly

PLAIN = Calendar(zone="UTC")
BERLIN = Calendar.model_validate(
    {
        "zone": "Europe/Berlin",
        "holidays": [{"date": "2026-04-03", "name": "Karfreitag"}, {"date": "2026-04-06", "name": "Ostermontag"}],
        "yearly_holidays": [{"day": "05-01", "name": "Tag der Arbeit"}],
    }
)
FRIDAY = datetime(2026, 3, 13, 15, tzinfo=UTC)


def test_working_days() -> None:
    assert BERLIN.is_working_day(date(2026, 4, 2))
    assert not BERLIN.is_working_day(date(2026, 4, 3))
    assert not BERLIN.is_working_day(date(2026, 4, 4))
    assert not BERLIN.is_working_day(date(2027, 5, 1))
    assert Calendar.model_validate({"zone": "UTC", "weekend": ["friday"]}).is_working_day(date(2026, 3, 14))


def test_seven_working_days_from_a_friday_is_the_second_tuesday() -> None:
    assert PLAIN.after_working_days(FRIDAY, timedelta(days=7)) == datetime(2026, 3, 24, 15, tzinfo=UTC)


def test_working_time_begins_on_monday_for_whoever_stops_on_a_weekend() -> None:
    saturday = datetime(2026, 3, 14, 11, tzinfo=UTC)
    # Monday to the next Friday is five days, Monday and Tuesday make seven: the end of Tuesday.
    assert PLAIN.after_working_days(saturday, timedelta(days=7)) == datetime(2026, 3, 25, tzinfo=UTC)


def test_a_weekend_is_no_working_time() -> None:
    monday = datetime(2026, 3, 16, 9, tzinfo=UTC)
    assert PLAIN.working_days_between(FRIDAY, monday) == timedelta(hours=9 + 9)
    assert PLAIN.working_days_between(monday, FRIDAY) == timedelta()


def test_holidays_and_summer_time_of_the_zone() -> None:
    # Thursday before Easter, 12:00 in Berlin (CEST, UTC+2): 12 h are left, then Tuesday after Easter.
    thursday = datetime(2026, 4, 2, 10, tzinfo=UTC)
    assert BERLIN.after_working_days(thursday, timedelta(days=1)) == datetime(2026, 4, 7, 10, tzinfo=UTC)
    # Over the night when clocks are put forward, a working day later is the same time on the clock.
    friday = datetime(2026, 3, 27, 11, tzinfo=UTC)  # 12:00 CET
    assert BERLIN.after_working_days(friday, timedelta(days=1)) == datetime(2026, 3, 30, 10, tzinfo=UTC)  # 12:00 CEST


@given(
    st.timedeltas(timedelta(), timedelta(days=365)).map(lambda later: FRIDAY + later),
    st.timedeltas(timedelta(), timedelta(days=40)),
)
@properly
def test_going_and_measuring_agree(start: datetime, amount: timedelta) -> None:
    assert PLAIN.working_days_between(start, PLAIN.after_working_days(start, amount)) == amount


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"zone": "Mars/Olympus"}, "'Mars/Olympus' is not a time zone"),
        ({"zone": "../etc/passwd"}, "is not a time zone"),
        (
            {"zone": "UTC", "weekend": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]},
            "leaves no day to work",
        ),
        ({"zone": "UTC", "yearly_holidays": [{"day": "25-12", "name": "?"}]}, "should match pattern"),
    ],
)
def test_mistakes_are_refused(mistake: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Calendar.model_validate(mistake)
