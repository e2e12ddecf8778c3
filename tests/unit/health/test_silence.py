from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.health.domain import (
    AccountFacts,
    ActiveDay,
    Calendar,
    SilenceRule,
    SilenceState,
    Standing,
    assess,
    day_of,
    settle_silence,
    silent_from,
)
from tests.unit.health.cases import NOW, RULES, active, facts, properly

RULE = SilenceRule()
CALENDAR = Calendar(zone="UTC")


def on(moments: list[datetime]) -> list[ActiveDay]:
    return [ActiveDay(day_of(moment), moment, moment) for moment in moments]


def weekdays(count: int, hour: int = 10) -> list[datetime]:
    """The last ``count`` weekdays up to Friday 13 March 2026."""
    friday = datetime(2026, 3, 13, hour, tzinfo=UTC)
    days = (friday - timedelta(days=back) for back in range(count * 2))
    return [day for day in days if day.weekday() < 5][:count]


def test_whoever_comes_every_working_day_is_silent_after_seven() -> None:
    # The usual gap is a day, three times that is less than seven: Friday 10:00 and seven working days is Tuesday.
    assert silent_from(on(weekdays(20)), RULE, CALENDAR) == datetime(2026, 3, 24, 10, tzinfo=UTC)


def test_whoever_comes_every_monday_has_three_of_those_weeks() -> None:
    mondays = [datetime(2026, 3, 9, 9, tzinfo=UTC) - timedelta(weeks=back) for back in range(8)]
    # A gap is five working days; three times five from Monday 9 March is Monday 30 March.
    assert silent_from(on(mondays), RULE, CALENDAR) == datetime(2026, 3, 30, 9, tzinfo=UTC)


def test_one_long_holiday_is_not_the_rhythm() -> None:
    daily = weekdays(20)
    before_a_long_pause = [day - timedelta(weeks=5) for day in daily[10:]]
    # Of 19 gaps one is long; the 90th percentile is the 18th smallest: a day.
    assert silent_from(on(daily[:10] + before_a_long_pause), RULE, CALENDAR) == datetime(2026, 3, 24, 10, tzinfo=UTC)


def test_without_a_rhythm_nobody_falls_silent() -> None:
    assert silent_from(on(weekdays(RULE.least_active_days - 1)), RULE, CALENDAR) is None
    assert silent_from([], RULE, CALENDAR) is None


def test_an_episode_begins_once_and_ends_with_activity() -> None:
    moment = datetime(2026, 3, 24, 10, tzinfo=UTC)
    just_before = settle_silence(SilenceState(), moment, moment - timedelta(microseconds=1))
    assert just_before == SilenceState(None, 0)
    silent = settle_silence(just_before, moment, moment)
    assert silent == SilenceState(moment, 1)
    assert settle_silence(silent, moment, moment + timedelta(days=50)) == silent
    late_event_moves_it = settle_silence(silent, moment + timedelta(days=1), moment + timedelta(days=50))
    assert late_event_moves_it == SilenceState(moment + timedelta(days=1), 1)
    back_again = settle_silence(silent, moment + timedelta(days=60), moment + timedelta(days=50))
    assert back_again == SilenceState(None, 1)
    assert settle_silence(back_again, moment + timedelta(days=60), moment + timedelta(days=60)).episode == 2


def test_a_broken_clock_long_ago_is_no_part_of_the_rhythm() -> None:
    broken = on([datetime(1971, 1, 1, tzinfo=UTC), datetime(1971, 1, 9, tzinfo=UTC)])
    assert silent_from([*broken, *on(weekdays(20))], RULE, CALENDAR) == silent_from(on(weekdays(20)), RULE, CALENDAR)
    assert silent_from([*broken, *on(weekdays(RULE.least_active_days - 1))], RULE, CALENDAR) is None


def test_the_order_of_days_carries_no_meaning() -> None:
    days = on(weekdays(12))
    assert silent_from(days, RULE, CALENDAR) == silent_from(days[::-1], RULE, CALENDAR)


@given(st.sets(st.integers(0, 100), max_size=30), st.integers(0, 99))
@properly
def test_later_activity_never_brings_silence_before_the_least_patience(days_back: set[int], later: int) -> None:
    moment = silent_from([active(back) for back in days_back | {later}], RULE, CALENDAR)
    if moment is not None:
        last = active(min(days_back | {later})).last_at
        assert moment - last >= timedelta(days=RULE.least_working_days)


@given(facts())
@properly
def test_the_queue_wakes_at_the_moment_of_silence_or_earlier(known: AccountFacts) -> None:
    judged = assess(known, Standing(), RULES, NOW)
    moment = silent_from(known.active_days, RULES.model.silence, RULES.calendar)
    assert judged.next_moment > NOW
    if moment is not None and not judged.went_silent:
        assert judged.next_moment <= moment
        assert assess(known, judged.standing, RULES, moment).went_silent
        assert not assess(known, judged.standing, RULES, moment - timedelta(microseconds=1)).went_silent
