"""What cells say: numbers, dates, truth and text."""

from __future__ import annotations

import pytest

from cli.imports.problems import RowRefused
from cli.imports.values import Reader, Type

NUMBERS = {
    "1200": 1200,
    "1,200": 1200,
    "1,200.50": 1200.5,
    "1.200,50": 1200.5,
    "1200,5": 1200.5,
    "1 200": 1200,
    "€ 1 200": 1200,
    "1\u202f200,00 €": 1200,
    "CHF 1'200.50": 1200.5,
    "$120k": 120_000,
    "1.2M": 1_200_000,
    "USD 120000": 120_000,
    "-5": -5,
    "−5": -5,
    "1.200.000": 1_200_000,
    "0.500": 0.5,
}


@pytest.mark.parametrize(("written", "number"), NUMBERS.items())
def test_numbers_as_people_write_them(written: str, number: float) -> None:
    assert Reader(None).read("ARR", written, Type.NUMBER) == number


@pytest.mark.parametrize(
    ("written", "why"), [("1.200", "can be read in two ways"), ("soon", "is no number"), ("1,2,3", "is no number")]
)
def test_what_is_no_clear_number_is_refused(written: str, why: str) -> None:
    with pytest.raises(RowRefused, match=why) as refused:
        Reader(None).read("ARR", written, Type.NUMBER)
    assert refused.value.code == "unreadable_number"
    assert str(refused.value).startswith(f"ARR: «{written}» ")


WITH_DECIMAL_COMMA = {
    "12.500 €": 12_500,
    "€ 1.200": 1200,
    "120.000": 120_000,
    "1.200,50": 1200.5,
    "1,200": 1.2,
    "1 200,5": 1200.5,
    "1,5 Mio": 1_500_000,
    "48000": 48_000,
}


@pytest.mark.parametrize(("written", "number"), WITH_DECIMAL_COMMA.items())
def test_numbers_with_a_decimal_comma(written: str, number: float) -> None:
    assert Reader(None, decimal_comma=True).read("Umsatz", written, Type.NUMBER) == number


def test_who_says_decimal_comma_means_all_numbers_of_the_file() -> None:
    reader = Reader(None, decimal_comma=True)
    for written in ("1,200.50", "1200.5"):
        with pytest.raises(RowRefused, match=r"is no number with a decimal comma\."):
            reader.read("Umsatz", written, Type.NUMBER)
    plain = ["1,5", "1.234", "1,10", "42", "true", "Köln, Bonn"]
    assert [reader.read("x", one, Type.PLAIN) for one in plain] == [1.5, "1.234", "1,10", 42, True, "Köln, Bonn"]
    with pytest.raises(RowRefused, match=r"«12\.500 €» can be read in two ways: --decimal-comma says"):
        Reader(None).read("Umsatz", "12.500 €", Type.NUMBER)


@pytest.mark.parametrize("nothing", ["", "  ", "-", "n/a", "NULL", "None"])
def test_nothing_is_not_sent(nothing: str) -> None:
    assert [Reader(None).read("x", nothing, one) for one in (Type.NUMBER, Type.DATE, Type.MOMENT)] == [None] * 3


PLAIN = {
    "42": 42,
    "-1.5": -1.5,
    "true": True,
    "FALSE": False,
    "007": "007",
    "1.10": "1.10",
    "+1": "+1",
    "-0": "-0",
    "1e5": "1e5",
    "12345678901234567890": "12345678901234567890",
    " text ": "text",
    "-": "-",
    "NA": "NA",
}


@pytest.mark.parametrize(("written", "value"), PLAIN.items())
def test_a_cell_becomes_a_number_only_where_nothing_is_lost(written: str, value: object) -> None:
    found = Reader(None).read("x", written, Type.PLAIN)
    assert (found, type(found)) == (value, type(value))


MOMENTS = {
    "2026-03-31": "2026-03-31T00:00:00Z",
    "2026-03-31 12:00:00": "2026-03-31T12:00:00Z",
    "2026-03-31T12:00:00.123+02:00": "2026-03-31T10:00:00.123000Z",
    "2026-03-31 12:00:00 UTC": "2026-03-31T12:00:00Z",
    "1767225600": "2026-01-01T00:00:00Z",
    "1767225600000": "2026-01-01T00:00:00Z",
}


@pytest.mark.parametrize(("written", "moment"), MOMENTS.items())
def test_moments(written: str, moment: str) -> None:
    assert Reader(None).read("when", written, Type.MOMENT) == moment


@pytest.mark.parametrize("written", ["31.12.2026", "12/31/2026", "yesterday", "1767225600.5", "0001-01-01"])
def test_other_moments_only_as_somebody_says(written: str) -> None:
    with pytest.raises(RowRefused) as refused:
        Reader(None).read("when", written, Type.MOMENT)
    assert refused.value.code == "unreadable_moment"


def test_dates_as_somebody_says_and_iso_besides() -> None:
    reader = Reader("%d.%m.%Y")
    assert reader.read("renewal", "31.12.2026", Type.DATE) == "2026-12-31"
    assert reader.read("renewal", "2026-12-31", Type.DATE) == "2026-12-31"
    assert reader.read("when", "31.12.2025", Type.MOMENT) == "2025-12-31T00:00:00Z"
    assert Reader("%d/%m/%Y %H:%M %z").read("when", "01/02/2026 10:00 +0900", Type.MOMENT) == "2026-02-01T01:00:00Z"
    with pytest.raises(RowRefused, match=r"neither as %d\.%m\.%Y nor as an ISO date"):
        reader.read("renewal", "12/31/2026", Type.DATE)


def test_truth_and_objects() -> None:
    reader = Reader(None)
    assert [reader.read("x", text, Type.BOOLEAN) for text in ("yes", "0", "True")] == [True, False, True]
    assert reader.read("x", '{"a": 1}', Type.OBJECT) == {"a": 1}
    for kind, text in ((Type.BOOLEAN, "maybe"), (Type.OBJECT, "[1]"), (Type.OBJECT, "{")):
        with pytest.raises(RowRefused):
            reader.read("x", text, kind)
