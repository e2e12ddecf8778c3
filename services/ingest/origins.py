"""The pages that may use a write key, named as browsers name them in the header Origin."""

from __future__ import annotations

import re

LONGEST = 300
PATTERN = (
    r"[A-Za-z][A-Za-z0-9+.-]*://"
    r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(:[1-9][0-9]{0,4})?"
)
"""scheme://host[:port]; the host may be a name, an IPv4 address, or an IPv6 one in brackets."""

NO_ORIGIN = "null"
"""What files, sandboxed frames and redirected requests send: nobody's in particular, so it is never allowed."""

_GOES_WITHOUT_SAYING = {"http": ":80", "https": ":443"}


def origin_as_sent(origin: str) -> str:
    """As a browser sends it: in lower case, without a port that goes without saying. Raises ValueError with a sentence
    for anything but one exact origin."""
    if len(origin) > LONGEST or not re.fullmatch(PATTERN, origin):
        raise ValueError(
            f"{origin[:LONGEST]!r} is no origin: write scheme://host or scheme://host:port, as "
            "https://app.example.com, without a path or a slash at its end, without wildcards, and other alphabets as "
            "xn--… names; a key without any origin is for every page."
        )
    sent = origin.lower()
    scheme = sent.partition("://")[0]
    return sent.removesuffix(_GOES_WITHOUT_SAYING.get(scheme, ""))
