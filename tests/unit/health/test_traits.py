"""Whatever products send as traits is read or left out; nothing of it is an error."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.health.domain import Profile, Scalar, normalised, profile_of
from services.health.domain.facts import calendar_day, text
from services.health.domain.numbers import number
from tests.unit.health.cases import properly

anything = st.one_of(st.text(), st.integers(), st.floats(), st.booleans())


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (5, 5.0),
        ("5", 5.0),
        (" 1,200.50 ", 1200.5),
        (True, None),
        ("five", None),
        ("inf", None),
        (float("nan"), None),
        (10**400, None),
        (None, None),
        (0, 0.0),
        (-3, -3.0),
        (1e15, 1e15),
        (1e16, None),
        ("-1e300", None),
        (1e-6, 1e-6),
        ("1e-308", None),
        ("$120,000", 120_000),
        ("120k", 120_000),
        ("US$ 120K", 120_000),
        ("USD 120000", 120_000),
        ("120000 EUR", 120_000),
        ("1.2M", 1_200_000),
        ("€120.000,00", 120_000),
        ("120.000,00 €", 120_000),
        ("1.200.000", 1_200_000),
        ("1 200 000", 1_200_000),
        ("CHF 120'000.50", 120_000.5),
        ("-$5,000", -5_000),
        ("12,5", 12.5),
        ("0.125", 0.125),
        ("1234.567", 1234.567),
        ("120.000", None),
        ("€1.250", None),
        ("1,2,3", None),
        ("1.2.3", None),
        ("120k per year", None),
        ("10-20", None),
        (".", None),
        ("", None),
        (-1e-7, None),
    ],
)
def test_numbers(sent: Scalar | None, read: float | None) -> None:
    assert number(sent) == read


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("2026-03-31", date(2026, 3, 31)),
        ("2026-03-31T23:30:00", date(2026, 3, 31)),
        ("2026-03-31T23:30:00-05:00", date(2026, 4, 1)),
        ("2026-03-31T00:00:00.000Z", date(2026, 3, 31)),
        ("31.03.2026", None),
        (20260331, None),
        ("0001-01-01T00:00:00+14:00", None),
        (None, None),
    ],
)
def test_days(sent: Scalar | None, read: date | None) -> None:
    assert calendar_day(sent) == read


def test_spellings_are_one() -> None:
    assert normalised({"renewalDate": "a", "Contact Email": "b", "contact-name": "c", "ARR": 1, "seats": 2}) == {
        "renewal_date": "a",
        "contact_email": "b",
        "contact_name": "c",
        "arr": 1,
        "seats": 2,
    }
    assert normalised({"renewal_date": "plain", "renewalDate": "camel", "Renewal Date": "words"}) == {
        "renewal_date": "plain"
    }


def test_the_profile() -> None:
    traits: dict[str, Scalar] = {
        "name": " Aoi Heavy Industries ",
        "arr": "180,000",
        "owner": "mika",
        "contact_email": "kenji@aoi.example",
        "contact_name": "",
        "renewal_date": "2026-12-01",
    }
    assert profile_of("aoi", traits) == Profile(
        name="Aoi Heavy Industries",
        arr=180_000.0,
        owner="mika",
        contact_email="kenji@aoi.example",
        contact_name=None,
        renewal_date=date(2026, 12, 1),
    )
    assert profile_of("aoi", {"contact_email": "nobody"}) == Profile(name="aoi")


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (" Kenji Tanaka ", "Kenji Tanaka"),
        ("Dr. Zoë O'Brien-Núñez, Jr.", "Dr. Zoë O'Brien-Núñez, Jr."),
        ("J.R. Tolkien", "J.R. Tolkien"),
        ("田中 健二", "田中 健二"),
        ("x" * 80, "x" * 80),
        ("x" * 81, None),
        ("Ann\r\nBcc: all@victims.example", None),
        ("Ann\nhas won", None),
        ("Ann\u2028has won", None),
        ("Ann \u202egnp.exe", None),
        ("see https://evil.example", None),
        ("see HTTP://evil", None),
        ("www.evil", None),
        ("visit evil.example now", None),
        ("bit.ly/x", None),
        ("ann@acme.example", None),
        ("<b>Ann</b>", None),
        (True, None),
    ],
)
def test_the_name_of_a_contact_is_a_name(sent: Scalar, read: str | None) -> None:
    assert profile_of("aoi", {"contact_name": sent}).contact_name == read


@given(st.dictionaries(st.text(), anything))
@properly
def test_no_trait_is_an_error(sent: dict[str, Scalar]) -> None:
    traits = normalised(sent)
    assert normalised(traits) == traits
    assert profile_of("aoi", traits).name
    for value in traits.values():
        number(value), calendar_day(value), text(value)
