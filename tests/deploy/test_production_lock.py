"""requirements-production.lock is the part of requirements.lock that the code in the image needs: no more, no less."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IN_THE_IMAGE = ("libs", "services", "cli")


def locked(file: str) -> dict[str, str]:
    """Package -> its whole entry: version, marker, hashes."""
    entries = re.split(r"^(?=[a-z0-9])", re.sub(r"^ +#.*\n", "", (ROOT / file).read_text(), flags=re.M), flags=re.M)
    return {str(canonicalize_name(entry.split("==")[0])): entry.strip() for entry in entries if "==" in entry}


PRODUCTION = locked("requirements-production.lock")


def closure(wanted: list[str], *, on_any_machine: bool) -> set[str]:
    """What these requirements need, and what that needs, by what is installed here.

    ``on_any_machine`` counts also what only other systems or versions of Python need.
    """
    found: set[str] = set()
    waiting = [Requirement(one) for one in wanted]
    seen: set[tuple[str, str]] = set()
    while waiting:
        one = waiting.pop()
        name = str(canonicalize_name(one.name))
        found.add(name)
        for extra in ("", *one.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [need for need in _needs(name) if _counts(need, extra, on_any_machine)]
    return found


def _needs(name: str) -> list[Requirement]:
    try:
        return [Requirement(text) for text in requires(name) or []]
    except PackageNotFoundError:  # of another system
        return []


def _counts(need: Requirement, extra: str, on_any_machine: bool) -> bool:
    if need.marker is None:
        return not extra
    asks_for_an_extra = "extra" in str(need.marker)
    if on_any_machine and not asks_for_an_extra:
        return not extra
    if on_any_machine:
        return bool(extra) and re.search(rf"""extra == ["']{re.escape(extra)}["']""", str(need.marker)) is not None
    return asks_for_an_extra == bool(extra) and need.marker.evaluate({"extra": extra})


def test_it_is_a_part_of_the_one_lock() -> None:
    everything = locked("requirements.lock")
    assert {name: everything.get(name) for name in PRODUCTION} == PRODUCTION
    assert len(PRODUCTION) < len(everything)


def test_it_has_everything_that_the_project_needs() -> None:
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["image"]]
    assert closure(wanted, on_any_machine=False) <= set(PRODUCTION)


def test_it_has_nothing_else() -> None:
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["image"]]
    assert set(PRODUCTION) <= closure(wanted, on_any_machine=True)


@pytest.mark.parametrize("package", IN_THE_IMAGE)
def test_the_code_in_the_image_imports_nothing_else(package: str) -> None:
    """Also not where it imports late."""
    distributions = packages_distributions()
    strange = set()
    for file in (ROOT / package).rglob("*.py"):
        for module in _imported_by(file) - {*sys.stdlib_module_names, *IN_THE_IMAGE}:
            if not {str(canonicalize_name(name)) for name in distributions.get(module, [])} & set(PRODUCTION):
                strange.add(f"{file.relative_to(ROOT)}: {module}")
    assert strange == set()


def _imported_by(file: Path) -> set[str]:
    """The first parts of the names of the modules."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}
