"""mapping.yaml: what a file's columns mean, kept beside the file for the next time."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pydantic import Field, field_validator

from cli.imports.csv_rows import delimiter_of
from cli.imports.names import Kind
from cli.imports.problems import Misused
from libs.common import config_file
from libs.common.config_file import ConfigModel
from libs.common.errors import NotStarted


class MappingFile(ConfigModel):
    """Each as the option of the same name; what the command line says counts more. ``columns``: column -> target."""

    kind: Kind | None = None
    columns: dict[str, str] = Field(default={})
    delimiter: str | None = None
    encoding: str | None = None
    date_format: str | None = None
    decimal_comma: bool = False
    id_column: str | None = None
    as_of: datetime | None = None

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, text: str | None) -> str | None:
        return None if text is None else delimiter_of(text)


def load(path: Path) -> MappingFile:
    """Raises Misused, with the line of the mistake."""
    try:
        return config_file.load(path, MappingFile)
    except NotStarted as exc:
        raise Misused(str(exc)) from exc


def lines_of(path: Path, mapping: MappingFile) -> dict[str, str]:
    """Where each column is spoken of: «mapping.yaml, line 7»."""
    return {column: f"{path}, line {config_file.line_in(path, ('columns', column))}" for column in mapping.columns}
