"""An import writes over no file of the customer's, however its name is spelt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.__main__ import main
from cli.imports.problems import Misused
from cli.imports.rejects import Refused, Rejects

ROWS = "account_id,name\na1,Acme\n"
MAPPING = "kind: accounts\n"
BAD = Refused(2, "ragged_row", "Too few.", b"a1\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "linked").symlink_to(folder)
    (folder / "x.csv").write_text(ROWS)
    (folder / "soft.csv").symlink_to("x.csv")
    (folder / "hard.csv").hardlink_to(folder / "x.csv")
    (folder / "mapping.yaml").write_text(MAPPING)
    (folder / "dangling").symlink_to("later")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("option", ["--rejects", "--journal"])
@pytest.mark.parametrize(
    "name",
    ["x.csv", "./x.csv", "../folder/x.csv", "../linked/x.csv", "{}/x.csv", "soft.csv", "hard.csv", "mapping.yaml"],
)
def test_what_is_read_is_never_written(folder: Path, option: str, name: str) -> None:
    words = ["import", "x.csv", "--mapping", "mapping.yaml", option, name.format(folder), "--write-key", "kzw_none"]
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, "would be one file; name another." in result.output) == (2, True), result.output
    assert (folder / "x.csv").read_text() == ROWS
    assert (folder / "mapping.yaml").read_text() == MAPPING


@pytest.mark.parametrize(
    ("file", "journal", "rejects"),
    [
        ("soft.csv", "j", "x.csv"),
        ("x.csv", "j", "j"),
        ("x.csv", "j", "{}/j"),
        ("x.csv", "dangling", "later"),
        ("x.csv", "j", "j.new"),
        ("x.csv", "j", "x.csv.import.json/../x.csv"),
    ],
)
def test_nor_are_two_files_one(folder: Path, file: str, journal: str, rejects: str) -> None:
    words = ["import", file, "--journal", journal, "--rejects", rejects.format(folder), "--write-key", "kzw_none"]
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, "would be one file; name another." in result.output) == (2, True), result.output
    assert (folder / "x.csv").read_text() == ROWS


def test_nor_is_standard_input(folder: Path) -> None:
    root = Path(__file__).parents[3]
    with (folder / "x.csv").open() as rows:
        result = subprocess.run(
            [sys.executable, "-m", "cli", "import", "-", "--rejects", "hard.csv", "--write-key", "kzw_none"],
            stdin=rows,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(root)},
        )
    assert (result.returncode, "would be one file" in result.stderr) == (2, True), result.stderr
    assert (folder / "x.csv").read_text() == ROWS


@pytest.mark.parametrize("keep_bytes", [0, 5])
def test_a_file_that_holds_something_else_is_left_alone(folder: Path, keep_bytes: int) -> None:
    notes = folder / "notes.txt"
    notes.write_text("keep me")
    with pytest.raises(Misused, match=r"notes\.txt holds something else than refused rows"):
        Rejects(notes, keep_bytes)
    assert notes.read_text() == "keep me"


def test_what_was_refused_before_goes_behind_a_link_too(folder: Path) -> None:
    for _ in range(2):
        rejects = Rejects(folder / "dangling", 0)
        rejects.add([BAD])
        rejects.close()
    assert len((folder / "later").read_bytes().splitlines()) == 1
    Rejects(folder / "dangling", 0).close()
    assert not (folder / "later").exists()
    assert (folder / "dangling").is_symlink()


def test_a_device_is_not_removed(tmp_path: Path) -> None:
    """As /dev/null, which root could remove."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    Rejects(pipe, 0).close()
    assert pipe.is_fifo()
