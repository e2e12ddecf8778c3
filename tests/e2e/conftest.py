"""Where a run of a test lives."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """Others may pass through, unlike pytest's own folders: as root, PostgreSQL runs as a user of its own."""
    made = Path(tempfile.mkdtemp(prefix="kizashi-e2e-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)
