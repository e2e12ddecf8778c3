"""What the image would contain of this folder: the files that .dockerignore lets through and the Dockerfile copies."""

from __future__ import annotations

import re
import shutil
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
NOT_SOURCES = {".git", ".venv", ".kizashi", ".hypothesis"}
"""Large, and sent to no builder: looking at them would only take time."""


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, as (name, rest), continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(name, rest) for name, _, rest in (line.strip().partition(" ") for line in text.splitlines()) if name]


def environment() -> dict[str, str]:
    """What the last stage sets."""
    found: dict[str, str] = {}
    for name, rest in instructions():
        if name == "FROM":
            found = {}
        elif name == "ENV":
            found |= dict(re.findall(r"(\w+)=(\S+)", rest))
    return found


def context() -> list[Path]:
    """The files sent to the builder, relative to this folder.

    Understands what .dockerignore needs: patterns for a name at the top (also with ``!``) and ``**/name``.
    """
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    found = []
    for top in sorted(ROOT.iterdir()):
        if top.name not in NOT_SOURCES:
            files = [top] if top.is_file() else (file for file in top.rglob("*") if file.is_file())
            found += [file for file in (one.relative_to(ROOT) for one in files) if not _is_ignored(file, patterns)]
    return found


def _is_ignored(file: Path, patterns: list[str]) -> bool:
    ignored = False
    for pattern in patterns:
        wanted, matches = pattern.lstrip("!"), False
        if wanted.startswith("**/"):
            matches = any(fnmatch(part, wanted[3:]) for part in file.parts)
        else:
            assert "/" not in wanted, f"{wanted}: this test understands names at the top only"
            matches = fnmatch(file.parts[0], wanted)
        if matches:
            ignored = not pattern.startswith("!")
    return ignored


def copied() -> dict[str, str]:
    """Source -> target of every COPY from the context."""
    found: dict[str, str] = {}
    for name, rest in instructions():
        if name == "COPY" and "--from" not in rest:
            *sources, target = rest.split()
            found |= {source: (target + source if target.endswith("/") else target) for source in sources}
    return found


def unpack(folder: Path) -> None:
    """Make /app in ``folder``."""
    sent = context()
    for source, target in copied().items():
        files = [file for file in sent if file == Path(source) or Path(source) in file.parents]
        assert files, f"the Dockerfile copies {source}, but .dockerignore keeps it back"
        for file in files:
            place = folder / target / file.relative_to(source) if file != Path(source) else folder / target
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, place)
