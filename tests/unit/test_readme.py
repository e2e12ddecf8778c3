"""What the README names exists: files, make targets, commands."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from cli.__main__ import main

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = "(?:config|services|libs|cli|deploy|docs|tests)"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text()
    named = set(re.findall(rf"`({FOLDERS}/[\w./-]+)`", text))
    linked = {target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target}
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [target for target in linked if not (document.parent / target).exists()]
    assert missing == []


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|=\d )make ([a-z]+)\b", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named >= {"run", "test", "demo"}
    assert named <= targets


def test_commands_that_are_named_exist() -> None:
    named = re.findall(r"bin/kizashi ([a-z]+)(?: ([a-z]+))?", (ROOT / "README.md").read_text())
    assert named
    for first, second in named:
        command = main.commands[first]
        if second:
            assert isinstance(command, click.Group)
            assert second in command.commands
