"""The `kizashi` command says what is wrong in a sentence, and prints nothing that could write on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from cli.__main__ import LATER, SECTIONS, main
from libs.common.testing import free_port


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KIZASHI_HOME", str(tmp_path))
    monkeypatch.delenv("KIZASHI_CLI_API_KEY", raising=False)


def kizashi(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def test_without_a_key_it_says_where_one_comes_from() -> None:
    result = kizashi("accounts")
    assert result.exit_code == 1
    assert "KIZASHI_CLI_API_KEY" in result.output


def test_a_service_that_does_not_answer_is_named_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("KIZASHI_CLI_API_KEY", "kzs_any")
    monkeypatch.setenv("KIZASHI_CLI_HEALTH_URL", address)
    result = kizashi("account", "acme")
    assert result.exit_code == 1
    assert f"health does not answer at {address}" in result.output
    assert "Traceback" not in result.output


def test_without_a_run_file_it_says_that_nothing_runs_here(tmp_path: Path) -> None:
    told = kizashi("sources").output
    assert f"nothing runs here, since there is no {tmp_path / 'run.json'}. Start it: make run." in told
    assert "KIZASHI_HOME names that. For an installation elsewhere set KIZASHI_CLI_API_KEY" in told
    (tmp_path / "run.json").write_text("{")
    assert f"{tmp_path / 'run.json'} names none" in kizashi("sources").output


def test_the_run_file_tells_addresses_and_key(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    (tmp_path / "run.json").write_text(json.dumps({"urls": {"ingest": address}, "api_key": "kzs_any"}))
    assert f"ingest does not answer at {address}" in kizashi("sources").output


@pytest.mark.parametrize("words", [[], ["dlq"], ["notify"], ["log"], ["sources"], ["keys"], ["api-keys"]])
def test_it_explains_itself_and_each_of_its_commands(words: list[str]) -> None:
    group: click.Command | None = main
    context = click.Context(main)
    for word in words:
        assert isinstance(group, click.Group)
        group = group.get_command(context, word)
    assert isinstance(group, click.Group)
    told = kizashi(*words, "--help")
    assert told.exit_code == 0
    for name in group.list_commands(context):
        assert f"\n  {name} " in told.output
        own = kizashi(*words, name, "--help")
        assert own.exit_code == 0, own.output
        assert "..." not in own.output.replace("[ARGS]...", ""), "a summary is cut off"


def test_every_command_is_in_a_section() -> None:
    assert sorted(name for names in SECTIONS.values() for name in names) == sorted(LATER)
