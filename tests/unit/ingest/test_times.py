"""When an event happened: skew is the client's clock against the wall's, never the event's age."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.domain.calls import Scalar
from services.ingest.domain.times import CORRECTED, EARLIEST, IN_FUTURE, MISSING, TOLERANCE, UNREADABLE, date, read_time

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2026-03-02T11:59:00Z", NOW - MINUTE),
        ("2026-03-02T11:59:00.000Z", NOW - MINUTE),
        ("2026-03-02T11:59:00.000000000Z", NOW - MINUTE),
        ("2026-03-02t11:59:00z", NOW - MINUTE),
        (" 2026-03-02T11:59:00Z ", NOW - MINUTE),
        ("2026-03-02T20:59:00+09:00", NOW - MINUTE),
        ("2026-03-02T20:59:00+0900", NOW - MINUTE),
        ("2026-03-02 11:59:00", NOW - MINUTE),
        ("2026-03-02", NOW.replace(hour=0)),
        (1772452740, NOW - MINUTE),
        (1772452740.0, NOW - MINUTE),
        (1772452740000, NOW - MINUTE),
        ("1772452740000", NOW - MINUTE),
        ("1772452740", NOW - MINUTE),
    ],
)
def test_readable_times(written: Scalar, meant: datetime) -> None:
    assert read_time(written) == meant
    assert date(written, None, NOW, NOW).occurred_at == meant


@pytest.mark.parametrize(
    "written",
    [
        "yesterday",
        "Mon Mar 02 2026 11:59:00 GMT+0000",
        "0001-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "2026-13-01",
        "2026-03-02T11:59:00Z" + "0" * 100,
        "9" * 60,
        "¹²³⁴⁵⁶⁷⁸⁹",
        True,
        -5,
        1e300,
        10**40,
        " ",
    ],
)
def test_an_unreadable_time_is_the_time_of_arrival_and_says_so(written: Scalar) -> None:
    dated = date(written, None, NOW, NOW)
    assert (dated.occurred_at, dated.flags) == (NOW, UNREADABLE)


@pytest.mark.parametrize("written", [None, ""])
def test_a_missing_time_is_the_time_of_arrival_and_says_so(written: Scalar) -> None:
    assert date(written, NOW, NOW, NOW).flags == MISSING


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("event_age", "clock_off_by", "off_after", "flags"),
    [
        (timedelta(0), timedelta(0), timedelta(0), ()),
        (3 * HOUR, timedelta(0), 3 * HOUR, ()),  # it waited in a queue
        (timedelta(days=800), timedelta(0), timedelta(days=800), ()),  # history
        (HOUR, 4 * MINUTE, HOUR - 4 * MINUTE, ()),  # within tolerance nothing is touched
        (HOUR, 6 * MINUTE, HOUR, CORRECTED),
        (HOUR, -6 * MINUTE, HOUR, CORRECTED),
        (HOUR, timedelta(days=400), HOUR, CORRECTED),
        (timedelta(0), -timedelta(days=4000), timedelta(0), CORRECTED),
    ],
)
def test_a_wrong_clock_is_corrected(
    event_age: timedelta, clock_off_by: timedelta, off_after: timedelta, flags: tuple[str, ...]
) -> None:
    client_now = NOW + clock_off_by
    dated = date((client_now - event_age).isoformat(), client_now, NOW, NOW)
    assert dated.occurred_at == NOW - off_after
    assert dated.flags == flags


@pytest.mark.parametrize(
    ("ahead", "sent_at", "flags"), [(5 * MINUTE, None, ()), (6 * MINUTE, None, IN_FUTURE), (6 * MINUTE, NOW, IN_FUTURE)]
)
def test_nothing_happens_in_the_future(ahead: timedelta, sent_at: datetime | None, flags: tuple[str, ...]) -> None:
    dated = date((NOW + ahead).isoformat(), sent_at, NOW, NOW)
    assert dated.flags == flags
    assert dated.occurred_at == (NOW if flags else NOW + ahead)


def test_a_demos_domain_time_is_no_skew() -> None:
    """Its clock stands weeks behind the wall, and so do the events' times; sentAt is real."""
    domain_now = NOW - timedelta(days=30)
    dated = date((domain_now - HOUR).isoformat(), NOW, domain_now, NOW)
    assert (dated.occurred_at, dated.flags) == (domain_now - HOUR, ())
    assert date((domain_now + HOUR).isoformat(), NOW, domain_now, NOW).flags == IN_FUTURE


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(datetime.isoformat)


@settings(deadline=None)
@given(scalars, scalars)
def test_every_event_gets_a_plausible_time(timestamp: Scalar, sent_at: Scalar) -> None:
    occurred_at = date(timestamp, read_time(sent_at), NOW, NOW).occurred_at
    assert EARLIEST <= occurred_at <= NOW + TOLERANCE
    assert occurred_at.tzinfo is UTC
