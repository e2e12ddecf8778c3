"""Which pages a key can be given for, and how they are written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.origins import PATTERN, origin_as_sent


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://app.example.com", "https://app.example.com"),
        ("HTTPS://App.Example.COM", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("https://app.example.com:80", "https://app.example.com:80"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://xn--r8jz45g.jp", "https://xn--r8jz45g.jp"),
        ("https://my_host", "https://my_host"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(written: str, sent: str) -> None:
    assert origin_as_sent(written) == sent


@pytest.mark.parametrize(
    "written",
    [
        *("", "*", "null", "app.example.com", "//app.example.com", "https://", "https:///x", "1https://a"),
        *("https://app.example.com/", "https://app.example.com/login", "https://a?b", "https://a#b", "https://a b"),
        *("https://*.example.com", "https://user@app.example.com", "https://例え.jp", "https://a\n", " https://a"),
        *("https://a:", "https://a:x", "https://a:0", "https://a:123456", "https://.a", "https://[::1", "https://a,b"),
        "https://" + "a" * 300,
    ],
)
def test_anything_else_is_told_how_to_write_it(written: str) -> None:
    with pytest.raises(ValueError, match="is no origin: write scheme://host or scheme://host:port"):
        origin_as_sent(written)


@given(st.from_regex(PATTERN, fullmatch=True))
def test_what_is_kept_can_be_written_again(written: str) -> None:
    if len(written) <= 300:
        sent = origin_as_sent(written)
        assert sent == sent.lower()
        assert re.fullmatch(PATTERN, sent)
