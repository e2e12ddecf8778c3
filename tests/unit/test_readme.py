"""What README and pages name exists: files, make targets, commands, variables; and what README says to run, is run."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from cli.__main__ import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = "(?:config|services|libs|cli|deploy|docs|tests)"
PICTURE_BYTES = 200_000

CI = ".ci/run"
KAFKA = "integration/local/test_kafka.py::test_make_kafka_runs_until_ctrl_c_and_make_stop_ends_what_a_killed_one_left"
CREATE = "integration/test_cli_log_create.py::test_topics_are_made_and_made_once"
STORY = "e2e/test_make_run.py::test_killed_stopped_and_frozen_the_story_still_comes_true"
REAL = "e2e/test_make_run.py::test_without_the_demo_it_is_a_real_installation_in_observe"
RUN_BY = {
    "make run": STORY,
    "make demo": CI,
    "make test": CI,
    "DEMO=0 make run": REAL,
    ".venv/bin/kizashi tail": "integration/ingest/test_tail.py::"
    "test_what_arrives_is_shown_as_the_page_of_operations_says",
    ".venv/bin/kizashi accounts": STORY,
    ".venv/bin/kizashi account ID": STORY,
    ".venv/bin/kizashi timeline ID": STORY,
    ".venv/bin/kizashi notify mode": REAL,
    ".venv/bin/kizashi notify enable": REAL,
    ".venv/bin/kizashi notify kill": REAL,
    ".venv/bin/kizashi dlq list": REAL,
    ".venv/bin/kizashi doctor": "integration/cli/test_doctor.py::test_people_get_sentences",
    "make run LOG=kafka": "e2e/test_on_kafka.py::test_frozen_killed_and_stopped_its_broker_costs_the_story_nothing",
    "make demo LOG=kafka": CI,
    "make kafka": KAFKA,
    "export KIZASHI_LOG_URL=kafka://127.0.0.1:9092": CREATE,
    ".venv/bin/kizashi log create": CREATE,
}
"""Each command of README, and what runs it: a test, or CI itself. The local ones are there
``python -m deploy.local``."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_are_named_exist(document: Path) -> None:
    text = document.read_text()
    named = set(re.findall(rf"`({FOLDERS}/[\w./-]+)`", text))
    linked = {target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target}
    linked |= set(re.findall(r'<img src="([^"]+)"', text))
    missing = [name for name in named if not (ROOT / name).exists()]
    missing += [target for target in linked if not (document.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_headings_that_are_linked_exist(document: Path) -> None:
    links = re.findall(r"\]\(([^):]*)#([^)]+)\)", document.read_text())
    missing = [
        f"{file}#{heading}"
        for file, heading in links
        if heading not in headings((document.parent / file) if file else document)
    ]
    assert missing == []


def headings(document: Path) -> set[str]:
    """As GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|=\d |: )make ([a-z]+)\b", README, re.MULTILINE))
    assert named >= {"run", "test", "demo", "move", "bench"}
    assert named <= targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_that_are_named_exist(document: Path) -> None:
    pattern = r"(?:`|^|bin/|--rm )kizashi ([a-z]+(?:-[a-z]+)*)(?: ([a-z]+(?:-[a-z]+)*))?"
    named = re.findall(pattern, document.read_text(), re.MULTILINE)
    assert named or document != DOCUMENTS[0]
    context = click.Context(main)
    for first, second in named:
        command = main.get_command(context, first)
        assert command is not None, first
        if second and isinstance(command, click.Group):
            assert command.get_command(context, second) is not None, f"{first} {second}"


def test_variables_that_are_named_exist() -> None:
    known = (ROOT / ".env.example").read_text()
    assert [name for name in re.findall(r"\bKIZASHI_\w+[A-Z]", README) if f"{name}=" not in known] == []


def test_what_it_says_to_run_is_run() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    said = {line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()}
    assert said == set(RUN_BY)
    for command, proof in RUN_BY.items():
        if proof == CI:
            assert f"\n{command}\n" in (ROOT / CI).read_text(), f"CI does not run {command}"
        else:
            file, _, test = proof.partition("::")
            assert re.search(rf"^(async )?def {test}\(", (ROOT / "tests" / file).read_text(), re.MULTILINE), proof


def test_its_pictures_are_small() -> None:
    pictures = [*(ROOT / "docs" / "images").iterdir()]
    assert len(pictures) >= 2
    assert [picture.name for picture in pictures if picture.stat().st_size > PICTURE_BYTES] == []
