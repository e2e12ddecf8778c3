"""`kizashi` as somebody has it who installed the wheel: in a fresh environment, far from the sources."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from libs.common.settings import SERVICES
from libs.common.testing import free_port

ROOT = Path(__file__).parents[3]
PACKAGES = ("cli", "deploy", "libs", "services")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
OFFLINE = ("--no-index", "--no-deps")


@dataclass(frozen=True)
class Installed:
    wheel: Path
    bin: Path
    elsewhere: Path

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """In an empty folder, and with no variable of ours but where no service answers."""
        nobody = {f"KIZASHI_CLI_{name.upper()}_URL": f"http://127.0.0.1:{free_port()}" for name in SERVICES}
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.elsewhere), **nobody}
        command = [str(self.bin / program), *words]
        return subprocess.run(
            command, cwd=self.elsewhere, env=environment, capture_output=True, text=True, timeout=60, check=False
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Our wheel; what it depends on is lent by the environment of the tests, which has no Kizashi of its own to lend:
    paths are not followed from there."""
    folder = tmp_path_factory.mktemp("installed")
    sources = folder / "sources"
    for package in PACKAGES:
        copytree(ROOT / package, sources / package, ignore=ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / file, sources / file)
    subprocess.run([*PIP, "wheel", *OFFLINE, "--no-build-isolation", "--wheel-dir", folder, sources], check=True)
    [wheel] = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    python = environment / "bin" / "python"
    subprocess.run([*PIP, "--python", python, "install", *OFFLINE, wheel], check=True)
    (folder / "elsewhere").mkdir()
    return Installed(wheel, environment / "bin", folder / "elsewhere")


def test_the_wheel_has_everything(installed: Installed) -> None:
    """Every module, migrations included, and what modules read beside themselves."""
    packed = set(zipfile.ZipFile(installed.wheel).namelist())
    modules = {str(file.relative_to(ROOT)) for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    assert modules - packed == set()
    assert {"deploy/local/inbox/page.html", "deploy/local/kafka-pom.xml"} <= packed


def test_it_is_the_one_that_is_asked(installed: Installed) -> None:
    asked = "import cli, libs.common.migrate as m; print(cli.__file__); [m.head_of(one) for one in m.version_folders()]"
    told = installed.run("python", "-c", asked)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith(str(installed.bin.parent))


def test_it_tells_its_version_and_helps(installed: Installed) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert installed.run("kizashi", "--version").stdout == f"kizashi {version}\n"
    told = installed.run("kizashi", "--help")
    assert told.returncode == 0, told.stderr
    assert "doctor What is wrong with the installation, and what to do." in " ".join(told.stdout.split())


def test_the_doctor_says_what_is_missing_there(installed: Installed) -> None:
    told = installed.run("kizashi", "doctor")
    assert told.returncode == 2, told.stderr
    assert "KIZASHI_DATABASE_URL is not set" in told.stdout
    assert f"There is no folder {installed.elsewhere / 'config'}" in told.stdout
    assert "Set KIZASHI_CONFIG_DIR" in told.stdout
    assert told.stderr == ""


def test_other_commands_say_where_a_key_comes_from(installed: Installed) -> None:
    told = installed.run("kizashi", "accounts")
    assert told.returncode == 1
    assert "No API key: nothing runs here" in told.stderr
    assert "set KIZASHI_CLI_API_KEY" in told.stderr
