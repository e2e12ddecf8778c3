"""Numbers as people write them into a CRM: «$120,000», «120k», «USD 120000», «1.2M», «€120.000,00»."""

from __future__ import annotations

import re

_SMALLEST, _LARGEST = 1e-6, 1e15
_CURRENCY = r"(?:[A-Z]{0,3}[$€£¥₹]|[A-Z]{3}|usd|eur|gbp|jpy|chf)?"
_WRITTEN = re.compile(
    rf"{_CURRENCY}\s*(?P<sign>[+-]?)\s*{_CURRENCY}\s*(?P<digits>[0-9][0-9.,'’\s]*|\.[0-9]+)"
    rf"(?P<scale>(?i:k|m|mn|mio|bn|))\s*{_CURRENCY}"
)
_SCALES = {"": 1, "k": 1e3, "m": 1e6, "mn": 1e6, "mio": 1e6, "bn": 1e9}


def number(value: str | int | float | bool | None) -> float | None:
    """``value`` as a number, or None where it is none, or can be read in two ways.

    «120.000» alone is a hundred and twenty to some and a thousand times as much to others: None. «120,000» is the
    latter, «120.000,00» and «1.200.000» can mean one thing only. None as well for what is so large or so small that it
    can only be a mistake, and with which arithmetic would end in an overflow.
    """
    if value is None or isinstance(value, bool):
        return None
    try:
        read = _as_written(value.strip()) if isinstance(value, str) else float(value)
    except OverflowError:
        return None
    return read if read is not None and (read == 0 or _SMALLEST <= abs(read) <= _LARGEST) else None


def _as_written(value: str) -> float | None:
    written = _WRITTEN.fullmatch(value) if len(value) <= 40 else None
    if written is None:
        return None
    digits = _with_point(written["digits"].strip())
    if digits is None:
        return None
    sign = -1 if written["sign"] == "-" else 1
    return sign * float(digits) * _SCALES[written["scale"].lower()]


def _with_point(digits: str) -> str | None:
    """Without separators of thousands, and with a point before decimals; None where it is not clear which is which."""
    if re.fullmatch(r"[0-9]{1,3}(['’\s][0-9]{3})+([.,][0-9]*)?", digits):
        digits = re.sub(r"['’\s]", "", digits)
    if re.fullmatch(r"[1-9][0-9]{0,2}\.[0-9]{3}", digits):
        return None
    for thousands, decimal in ((",", "."), (".", ",")):
        grouped = rf"[0-9]{{1,3}}(\{thousands}[0-9]{{3}})+(\{decimal}[0-9]*)?"
        plain = rf"[0-9]*(\{decimal}[0-9]*)?"
        if re.fullmatch(grouped, digits) or re.fullmatch(plain, digits):
            return digits.replace(thousands, "").replace(decimal, ".")
    return None
