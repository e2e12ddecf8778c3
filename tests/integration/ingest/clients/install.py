"""What ``make clients`` does: the SDKs that products use, as published, each into a folder of its own in ``.clients/``.

A lock is made, or made anew, by

    echo 'NAME==VERSION' | uv pip compile - --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-header --no-annotate --output-file python/NAME-VERSION.lock

and that of the JavaScript ones, in ``javascript``, by

    npm install --package-lock-only --ignore-scripts --omit-lockfile-registry-resolved
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
CLIENTS = HERE.parents[3] / ".clients"
STAMP = ".installed-from"
"""Written last into a client's folder: what it was installed from."""


@dataclass(frozen=True)
class PythonClient:
    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def lock(self) -> Path:
        return HERE / "python" / f"{self.name}-{self.version}.lock"

    @property
    def folder(self) -> Path:
        return CLIENTS / "python" / f"{self.name}-{self.version}"


SEGMENT = PythonClient("segment-analytics-python", "2.4.0")
SEGMENT_BEFORE = PythonClient("segment-analytics-python", "2.3.3")
"""The last that retries as all did for years: with other waits, and on other answers."""
RUDDER = PythonClient("rudder-sdk-python", "2.1.9")
CLOUDEVENTS = PythonClient("cloudevents", "2.2.0")
PYTHON_CLIENTS = (SEGMENT, SEGMENT_BEFORE, RUDDER, CLOUDEVENTS)
JAVASCRIPT = CLIENTS / "javascript"
JAVASCRIPT_PACKAGES = HERE / "javascript" / "package.json"
JAVASCRIPT_LOCK = JAVASCRIPT_PACKAGES.with_name("package-lock.json")


def is_current(folder: Path, lock: Path) -> bool:
    """Whether ``folder`` holds what ``lock`` says, all of it, for this interpreter."""
    stamp = folder / STAMP
    return stamp.is_file() and stamp.read_text() == _fingerprint(lock)


def mark_current(folder: Path, lock: Path) -> None:
    (folder / STAMP).write_text(_fingerprint(lock))


def _fingerprint(lock: Path) -> str:
    return f"{hashlib.sha256(lock.read_bytes()).hexdigest()} {sys.implementation.cache_tag}\n"


def install_python() -> None:
    for client in PYTHON_CLIENTS:
        if is_current(client.folder, client.lock):
            continue
        print(f"Installing {client} …", flush=True)
        shutil.rmtree(client.folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        exactly = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement", str(client.lock)]
        subprocess.run([*pip, *exactly, "--target", str(client.folder)], check=True)
        mark_current(client.folder, client.lock)


def javascript_client(package: str) -> str:
    """Its name and version."""
    return f"{package} {json.loads(JAVASCRIPT_PACKAGES.read_text())['dependencies'][package]}"


def install_javascript() -> None:
    """All of them in one folder; nothing of theirs is run for it."""
    npm = shutil.which("npm")
    if npm is None:
        print("There is no npm here (Debian's nodejs and npm), so tests of JavaScript clients will be left out.")
        return
    if is_current(JAVASCRIPT, JAVASCRIPT_LOCK):
        return
    print("Installing the JavaScript clients …", flush=True)
    shutil.rmtree(JAVASCRIPT, ignore_errors=True)
    JAVASCRIPT.mkdir(parents=True)
    for file in (JAVASCRIPT_PACKAGES, JAVASCRIPT_LOCK):
        shutil.copy(file, JAVASCRIPT)
    quietly = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run([npm, "ci", *quietly], cwd=JAVASCRIPT, check=True, stdout=subprocess.DEVNULL)
    mark_current(JAVASCRIPT, JAVASCRIPT_LOCK)


def main() -> int:
    try:
        install_python()
        install_javascript()
    except subprocess.CalledProcessError:
        print("That client could not be installed; the lines above say why.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
