"""The page of guarantees names tests; here it is checked that they exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()


def file_of(short: str) -> Path:
    """``common/test_x.py`` means tests/integration/common/test_x.py, unless tests/ itself has such a folder."""
    direct = ROOT / "tests" / short
    return direct if direct.exists() else ROOT / "tests" / "integration" / short


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`([a-z_/]+\.py)::(test_[a-z0-9_]+)`", PAGE)
    assert len(named) > 30
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not file_of(file).exists() or not re.search(rf"^ *(async )?def {test}\(", file_of(file).read_text(), re.M)
    ]
    assert missing == []


def test_every_promise_of_the_tables_names_its_proof() -> None:
    rows = [line.strip("|").split("|") for line in PAGE.splitlines() if line.startswith("| ")]
    promises = [cells for cells in rows if cells[-1].strip() != "proven by"]
    assert len(promises) > 40
    assert [cells[-2].strip() for cells in promises if "::test_" not in cells[-1]] == []
