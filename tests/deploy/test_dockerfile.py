"""The Dockerfile, read by a linter and by what it must not do."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy import image


def test_a_linter_finds_nothing() -> None:
    beside_python = Path(sys.executable).with_name("hadolint")
    if not beside_python.exists() and not os.environ.get("CI"):
        pytest.skip(f"hadolint is installed on Linux only, this is {platform.system()}: nobody has read the Dockerfile")
    command = [str(beside_python), "--failure-threshold", "style", str(image.DOCKERFILE)]
    read = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (read.returncode, read.stdout) == (0, "")


def test_one_base_pinned_by_digest() -> None:
    outside = [rest for name, rest in image.instructions() if name == "FROM" and not re.match(r"python( |$)", rest)]
    assert len(outside) == 1
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64} AS python", outside[0])


def test_the_base_has_the_python_that_the_tests_run_on() -> None:
    """In CI; elsewhere they may run on a newer one."""
    version = re.search(r"python:(\d+\.\d+)\.", image.DOCKERFILE.read_text())
    assert version is not None
    major, minor = map(int, version[1].split("."))
    if os.environ.get("CI"):
        assert (major, minor) == sys.version_info[:2]
    else:
        assert (major, minor) <= sys.version_info[:2]


def test_it_runs_as_a_number_that_is_not_root() -> None:
    (user,) = (rest for name, rest in image.instructions() if name == "USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)


def test_the_last_stage_installs_nothing() -> None:
    names = [name for name, _ in image.instructions()]
    last = image.instructions()[len(names) - names[::-1].index("FROM") :]
    assert {name for name, _ in last} <= {"LABEL", "COPY", "ENV", "WORKDIR", "USER", "EXPOSE", "CMD"}


def test_everything_installed_is_locked() -> None:
    text = image.DOCKERFILE.read_text()
    for line in re.findall(r"pip install (.*)", text):
        assert "--require-hashes" in line or "--no-index" in line
    assert "apt-get" not in text


def test_only_what_is_needed_is_sent_to_the_builder() -> None:
    tops = {file.parts[0] for file in image.context()}
    assert tops == set(image.copied())
    assert not any("__pycache__" in file.parts for file in image.context())


def test_what_it_copies_is_the_whole_application(tmp_path: Path) -> None:
    image.unpack(tmp_path)
    for package in ("cli", "libs", "services", "config"):
        ours = _tracked(package)
        assert ours <= {str(file.relative_to(tmp_path)) for file in (tmp_path / package).rglob("*")}
        assert ours


def _tracked(folder: str) -> set[str]:
    git = shutil.which("git")
    assert git is not None
    listed = subprocess.run([git, "ls-files", folder], cwd=image.ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.split())
