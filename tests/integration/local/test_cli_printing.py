"""What customers wrote is printed as text, on one line."""

import pytest

from cli.printing import columns


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    columns(("account", "name"), [("acme", "\x1b[2JAcme\r\nInc."), ("b", None)], empty="none")
    assert capsys.readouterr().out == "account  name\nacme      [2JAcme  Inc.\nb        –\n"


def test_nothing_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    columns(("account",), [], empty="No accounts yet.")
    assert capsys.readouterr().out == "No accounts yet.\n"
