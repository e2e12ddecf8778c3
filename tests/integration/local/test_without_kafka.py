"""Without Java or Maven, whoever needs a broker is skipped and the reason is said; where CI=true that is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NEEDS_KAFKA = "def test_that_needs_a_broker(kafka: object) -> None: ...\n"
NO_JAVA = "Nothing of Kafka is tested: Apache Kafka needs Java, and there is none in this machine"
NO_MAVEN = "Nothing of Kafka is tested: Apache Kafka's jars are fetched with Maven, and there is no mvn on this machine"
JAVA_17 = "#!/bin/sh\necho 'openjdk version \"17.0.9\"' >&2\n"


@pytest.fixture(params=[NO_JAVA, NO_MAVEN], ids=["no java", "no maven"])
def poor_machine(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, str]]:
    """What is missing on it, and its environment, in which nothing else is."""
    programs = tmp_path / "bin"
    programs.mkdir()
    if request.param == NO_MAVEN:
        java = programs / "java"
        java.write_text(JAVA_17)
        java.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "JAVA_HOME")}
    return request.param, {
        **environment,
        "PATH": str(programs),
        "KIZASHI_LOCAL_KAFKA_JARS": str(tmp_path / "jars"),
    }


def run(tmp_path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A test that asks for a broker, by the fixtures and settings of all our tests."""
    test = tmp_path / "test_needing.py"
    test.write_text(NEEDS_KAFKA)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    return subprocess.run(
        [*command, "-c", str(ROOT / "pyproject.toml"), str(test)],
        cwd=ROOT,
        env={**environment, "COLUMNS": "500"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_whoever_needs_a_broker_is_skipped_loudly(tmp_path: Path, poor_machine: tuple[str, dict[str, str]]) -> None:
    missing, environment = poor_machine
    ran = run(tmp_path, environment)
    assert ran.returncode == 0, ran.stdout
    assert "1 skipped" in ran.stdout
    assert missing in ran.stdout, "the summary says what is missing without being asked"


def test_in_ci_it_is_a_failure(tmp_path: Path, poor_machine: tuple[str, dict[str, str]]) -> None:
    missing, environment = poor_machine
    ran = run(tmp_path, {**environment, "CI": "true"})
    assert ran.returncode == 1, ran.stdout
    assert "1 error" in ran.stdout
    assert missing in ran.stdout
