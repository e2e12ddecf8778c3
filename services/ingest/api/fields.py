"""Fields that several of these routes take."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import StringConstraints

Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")
]
SourceId = Annotated[int, Path(ge=1, lt=2**63, description="a source of the caller's workspace")]
