"""The configuration that the repository ships."""

from __future__ import annotations

from pathlib import Path

from libs.common.config_file import load
from services.health.domain import Calendar, HealthModel, Rulebook, Segments, Stages

CONFIG = Path(__file__).parents[3] / "config"


def shipped_rules() -> Rulebook:
    return Rulebook(
        model=load(CONFIG / "health" / "default.yaml", HealthModel),
        segments=load(CONFIG / "segments.yaml", Segments),
        stages=load(CONFIG / "stages.yaml", Stages),
        calendar=load(CONFIG / "calendar.yaml", Calendar),
    )
