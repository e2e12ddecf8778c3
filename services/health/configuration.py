"""What a customer-success team edits of how accounts are scored, as files of ``config/``."""

from __future__ import annotations

from pathlib import Path

from libs.common import config_file
from services.health.domain import Calendar, HealthModel, Rulebook, Segments, Stages


def rulebook(config_dir: Path, model: str) -> Rulebook:
    """What people edited. Raises NotStarted naming the file and line of a mistake."""
    return Rulebook(
        model=config_file.load(config_dir / "health" / f"{model}.yaml", HealthModel),
        segments=config_file.load(config_dir / "segments.yaml", Segments),
        stages=config_file.load(config_dir / "stages.yaml", Stages),
        calendar=config_file.load(config_dir / "calendar.yaml", Calendar),
    )
