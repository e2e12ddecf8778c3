"""What an import says before, during and at its end."""

from __future__ import annotations

from typing import Any

import pytest

from cli.imports.destination import Destination
from cli.imports.words import show_next
from cli.imports.write_key import GivenKey

MOBILE: dict[str, Any] = {"id": 2, "name": "Mobile app", "state": "importing"}
DOES_NOT_COUNT = "does not count at all for an account that another source, a live one, knows too"


def destination(source: dict[str, Any] | None) -> Destination:
    return Destination("http://127.0.0.1:8080", GivenKey("kzw_x"), source)


def test_the_end_says_what_an_importing_source_is_good_for(capsys: pytest.CaptureFixture[str]) -> None:
    show_next(destination(MOBILE))
    told = capsys.readouterr().out
    assert "It is importing until all of its history is sent and you say so: `kizashi sources live 2`." in told
    assert DOES_NOT_COUNT in told
    show_next(destination(None))
    told = capsys.readouterr().out
    assert "A source is importing until" in told
    assert DOES_NOT_COUNT in told
    show_next(destination(MOBILE | {"state": "live"}))
    assert "importing" not in capsys.readouterr().out
