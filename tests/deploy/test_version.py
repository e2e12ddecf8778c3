"""The version stands in pyproject.toml; what else tells it, tells the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from click.testing import CliRunner

from cli.__main__ import main

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_command_tells_it() -> None:
    told = CliRunner().invoke(main, ["--version"], prog_name="kizashi")
    assert told.output == f"kizashi {PROJECT['version']}\n"


def test_the_changelog_begins_with_it() -> None:
    newest = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    assert newest is not None
    assert newest[1] == PROJECT["version"]


def test_it_stands_nowhere_else() -> None:
    """In the code; the version of an HTTP API or an event is another thing, and counts by itself."""
    number = re.compile(rf"""["']{re.escape(PROJECT["version"])}["']""")
    sources = [file for folder in ("cli", "libs", "services", "deploy") for file in (ROOT / folder).rglob("*.py")]
    assert [file for file in sources if number.search(file.read_text())] == []


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE"]
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License\n                           Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
