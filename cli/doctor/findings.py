"""What a look at one thing gives: fine, worth knowing, or wrong; in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works, but somebody should know
    PROBLEM = "problem"  # does not work, or will not for long


@dataclass(frozen=True)
class Finding:
    """``code`` and ``about`` (the service, schema, workspace or source) are for scripts, and codes stay the same;
    ``remedy`` says what to do. No sentence holds a secret."""

    level: Level
    code: str
    sentence: str
    remedy: str = ""
    about: str = ""


def ok(code: str, sentence: str, *, about: str = "") -> Finding:
    return Finding(Level.OK, code, sentence, about=about)


def warning(code: str, sentence: str, remedy: str = "", *, about: str = "") -> Finding:
    return Finding(Level.WARNING, code, sentence, remedy, about)


def problem(code: str, sentence: str, remedy: str = "", *, about: str = "") -> Finding:
    return Finding(Level.PROBLEM, code, sentence, remedy, about)


@dataclass(frozen=True)
class Area:
    """What was found where; ``name`` is a heading."""

    name: str
    findings: Sequence[Finding]


@dataclass(frozen=True)
class Report:
    """``looked_at`` says which installation this is about; ``could_look`` is False when nothing of it was in sight."""

    looked_at: str
    areas: Sequence[Area]
    could_look: bool

    def count(self, level: Level) -> int:
        return sum(finding.level is level for area in self.areas for finding in area.findings)

    @property
    def troubles(self) -> Sequence[Area]:
        """Without what is fine."""
        found = [Area(area.name, [one for one in area.findings if one.level is not Level.OK]) for area in self.areas]
        return [area for area in found if area.findings]

    @property
    def exit_status(self) -> int:
        """0 without a problem, 1 with one, 2 when there was nothing to look at."""
        if not self.could_look:
            return 2
        return 1 if self.count(Level.PROBLEM) else 0
