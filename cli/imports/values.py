"""What people write into cells -> what is sent. Nothing is guessed that can be read in two ways."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from cli.imports.problems import RowRefused

EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
"""What lies before is a zero of somebody's language, and ingest would take it for no time at all."""
_OTHER_CLOCKS = timedelta(minutes=5)
"""What ingest forgives too; later than that it would date an event to its arrival."""
_NOTHING = frozenset({"", "-", "–", "—", "n/a", "na", "null", "none", "nan"})
_MILLISECONDS_FROM = 1e11

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,14})")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15}")

_CURRENCY = r"(?:[A-Z]{0,3}[$€£¥₹]|[A-Za-z]{3})?"
_AMOUNT = re.compile(
    rf"{_CURRENCY}\s*(?P<sign>[-+−]?)\s*{_CURRENCY}\s*(?P<digits>[0-9][0-9.,'’\s]*?)\s*"
    rf"(?P<scale>(?i:k|m|mn|mio|bn|))\s*{_CURRENCY}"
)
_SCALES = {"": 1, "k": 1e3, "m": 1e6, "mn": 1e6, "mio": 1e6, "bn": 1e9}


class Type(StrEnum):
    PLAIN = "plain"  # as it looks: a number or true/false where nothing of the writing is lost, else text
    TEXT = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    MOMENT = "moment"
    OBJECT = "object"


class Reader:
    """Reads the cells of one file. ``date_format`` is strptime's; ISO 8601 is read besides. ``decimal_comma``: a comma
    stands before decimals and nowhere else; without it both ways are read where a number shows which it is."""

    def __init__(self, date_format: str | None, *, decimal_comma: bool = False) -> None:
        self._date_format = date_format
        self._decimal_comma = decimal_comma
        self._of: dict[Type, Callable[[str], object]] = {
            Type.PLAIN: self._plain,
            Type.TEXT: lambda text: text,
            Type.NUMBER: self._number,
            Type.BOOLEAN: _boolean,
            Type.DATE: self._date,
            Type.MOMENT: self._moment,
            Type.OBJECT: _object,
        }

    def read(self, column: str, value: object, kind: Type) -> object:
        """None for an empty cell. A value that is no text is taken as it is. Raises RowRefused."""
        if not isinstance(value, str):
            return self._moment_of_number(column, value) if kind is Type.MOMENT else value
        text = value.strip()
        if not text or (kind not in (Type.PLAIN, Type.TEXT) and text.casefold() in _NOTHING):
            return None
        try:
            return self._of[kind](text)
        except _Unreadable as exc:
            raise RowRefused(f"unreadable_{kind}", f"{column}: {_quoted(text)} {exc}") from exc

    def read_time(self, column: str, value: object) -> object:
        """Like ``read``, of when something happened or was true. Raises RowRefused for what has not yet."""
        moment = self.read(column, value, Type.MOMENT)
        if isinstance(moment, str) and datetime.fromisoformat(moment) > datetime.now(UTC) + _OTHER_CLOCKS:
            raise RowRefused(
                "timestamp_in_future",
                f"{column}: {_quoted(str(value))} lies in the future: it would count as of today.",
            )
        return moment

    def _date(self, text: str) -> str:
        moment = self._as_said(text)
        if moment is not None:
            return moment.date().isoformat()
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError:
            pass
        try:
            return datetime.fromisoformat(text.upper()).isoformat()
        except ValueError:
            raise self._unreadable() from None

    def _moment(self, text: str) -> str:
        moment = self._as_said(text)
        if moment is None:
            try:
                known = _since_1970(float(text)) if text.isdecimal() and len(text) > 8 else _with_zone(text)
            except (ValueError, OverflowError):
                raise self._unreadable() from None
        else:
            known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if known < EARLIEST:
            raise _Unreadable("is before 1971, which is nobody's usage.")
        return as_iso(known)

    def _moment_of_number(self, column: str, value: object) -> object:
        if value is None:
            return None
        try:
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise self._unreadable()
            return self._moment(as_iso(_since_1970(value)))
        except (_Unreadable, ValueError, OverflowError) as exc:
            raise RowRefused("unreadable_moment", f"{column}: {_quoted(str(value))} {exc}") from exc

    def _plain(self, text: str) -> object:
        if not self._decimal_comma:
            return _plain(text)
        # «1.234» would be another number to the others of its file.
        return text if "." in text else _plain(text.replace(",", "."), text)

    def _number(self, text: str) -> float:
        written = _AMOUNT.fullmatch(text) if len(text) <= 40 else None
        digits = _with_point(written["digits"], self._decimal_comma) if written else None
        if written is None or digits is None:
            raise _Unreadable("is no number with a decimal comma." if self._decimal_comma else "is no number.")
        amount = float(digits) * _SCALES[written["scale"].casefold()] * (1 if written["sign"] in ("", "+") else -1)
        return int(amount) if amount.is_integer() else amount

    def _as_said(self, text: str) -> datetime | None:
        if self._date_format is None:
            return None
        try:
            return datetime.strptime(text, self._date_format)  # noqa: DTZ007 - a zone is in it, or it is UTC
        except ValueError:
            return None

    def _unreadable(self) -> _Unreadable:
        if self._date_format is None:
            return _Unreadable(
                "is no ISO date, as 2026-03-31 or 2026-03-31T12:00:00Z; say how dates are written: "
                '--date-format "%d.%m.%Y"'
            )
        return _Unreadable(f"is written neither as {self._date_format} nor as an ISO date.")


class _Unreadable(Exception):
    """The end of a sentence that begins with the cell."""


def as_iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _with_zone(text: str) -> datetime:
    moment = datetime.fromisoformat(text.upper().removesuffix(" UTC"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _since_1970(number: float) -> datetime:
    return datetime.fromtimestamp(number / 1000 if number >= _MILLISECONDS_FROM else number, UTC)


def _plain(text: str, otherwise: str | None = None) -> object:
    """«007», «1.10» and «+1» stay text, ``otherwise`` if it is another: a number would say less than they do."""
    if _WHOLE.fullmatch(text) and text != "-0":
        return int(text)
    if _DECIMAL.fullmatch(text) and str(float(text)) == text:
        return float(text)
    return {"true": True, "false": False}.get(text.casefold(), text if otherwise is None else otherwise)


def _boolean(text: str) -> bool:
    words = {"true": True, "yes": True, "y": True, "1": True, "false": False, "no": False, "n": False, "0": False}
    if text.casefold() not in words:
        raise _Unreadable("is neither true nor false; yes, no, 1 and 0 are read too.")
    return words[text.casefold()]


def _object(text: str) -> dict[str, object]:
    try:
        found = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _Unreadable("is no JSON object.")
    return found


def _with_point(digits: str, decimal_comma: bool) -> str | None:
    """Without separators of thousands and with a point before decimals. Unless ``decimal_comma``, «1,200» is read as in
    English, «1,20» can only be a decimal, and _Unreadable is raised for «1.200», which is one number to some and a
    thousand times that to others."""
    digits = re.sub(r"(?<=[0-9])['’\s](?=[0-9]{3}(?![0-9]))", "", digits)
    if not decimal_comma and re.fullmatch(r"[1-9][0-9]{0,2}\.[0-9]{3}", digits):
        raise _Unreadable(
            "can be read in two ways: --decimal-comma says that a point parts thousands; else write fewer decimals."
        )
    for thousands, decimal in ((".", ","),) if decimal_comma else ((",", "."), (".", ",")):
        grouped = rf"[0-9]{{1,3}}(?:\{thousands}[0-9]{{3}})+(?:\{decimal}[0-9]*)?"
        plain = rf"[0-9]+(?:\{decimal}[0-9]*)?"
        if re.fullmatch(grouped, digits) or re.fullmatch(plain, digits):
            return digits.replace(thousands, "").replace(decimal, ".")
    return None


def _quoted(text: str) -> str:
    return f"«{text if len(text) <= 60 else text[:57] + '…'}»"
