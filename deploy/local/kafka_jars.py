"""What an Apache Kafka broker needs to run: Java, and its jars, which Maven fetches once into a folder of ours."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from libs.common.errors import NotStarted

ROOT = Path(__file__).parents[2]
POM = Path(__file__).with_name("kafka-pom.xml")
DEFAULT_FOLDER = ROOT / ".kizashi" / "kafka-libs"
"""Shared by all homes and all test runs of this folder."""
LEAST_JAVA = 17
ASK_SECONDS = 20.0
_FETCHED = re.compile(r"Downloaded from \S+: \S+/(\S+\.jar) ")

Tell = Callable[[str], None]
"""Gets one line of progress, each replacing the one before."""


def find_java() -> str:
    """The command that runs Java. Raises NotStarted when there is none, or one that is too old."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else "java"
    where = f"JAVA_HOME={home}" if home else "this machine"
    install = f"install Java {LEAST_JAVA} or newer (a headless JRE is enough), or set JAVA_HOME to it"
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=ASK_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        raise NotStarted(f"Apache Kafka needs Java, and there is none in {where}; {install}.") from None
    version = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    if version is None or int(version[1]) < LEAST_JAVA:
        found = version[1] if version else "one that does not tell its version"
        raise NotStarted(f"Apache Kafka needs Java {LEAST_JAVA} or newer, and {where} has {found}; {install}.")
    return java


def fetch_jars(folder: Path = DEFAULT_FOLDER, tell: Tell = lambda _: None) -> Path:
    """The folder with the broker's jars, about 45 MB; fetched at the first call, by one process while others wait.

    Raises NotStarted with what Maven complains of.
    """
    if are_there(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_name(f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not are_there(folder):
                _fetch(folder, tell)
    except OSError as exc:
        raise NotStarted(
            f"Kafka's jars cannot be kept in {folder} ({exc.strerror}); set KIZASHI_LOCAL_KAFKA_JARS to a folder that "
            "can be written."
        ) from exc
    return folder


def are_there(folder: Path) -> bool:
    """The description of what was fetched is beside it, so that a newer version is fetched again."""
    try:
        return (folder / POM.name).read_bytes() == POM.read_bytes()
    except OSError:
        return False


def _fetch(folder: Path, tell: Tell) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NotStarted(
            "Apache Kafka's jars are fetched with Maven, and there is no mvn on this machine; install Maven, or copy "
            f"{folder} from a machine that has it."
        )
    fresh = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    command = [maven, "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={fresh}"]
    lines: list[str] = []
    fetched = 0
    tell("Apache Kafka: asking Maven for its jars, once")
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            lines.append(line)
            if jar := _FETCHED.search(line):
                fetched += 1
                tell(f"Apache Kafka: {fetched} jars fetched, the last one {jar[1]}")
    if running.returncode:
        raise NotStarted(_why(lines))
    shutil.copy(POM, fresh / POM.name)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


def _why(lines: list[str]) -> str:
    complaint = next((line for line in lines if line.startswith("[ERROR]")), "".join(lines[-1:])).strip()
    return (
        f"Maven could not fetch Apache Kafka's jars ({complaint.removeprefix('[ERROR] ')[:300]}); this needs the "
        "network once: behind a proxy or with a mirror, name it in Maven's own settings (~/.m2/settings.xml)."
    )
