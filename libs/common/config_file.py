"""YAML that people edit: read strictly, checked by a schema, and every mistake named by file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from libs.common.errors import NotStarted


class ConfigModel(BaseModel):
    """The base of every schema of a configuration file: unknown fields are mistakes, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


M = TypeVar("M", bound=BaseModel)


def load(path: Path, schema: type[M]) -> M:
    """The file's content as ``schema``. Raises NotStarted: «config/segments.yaml, line 7: segments.0.when: …».

    A schema reports further mistakes by raising ValueError in its validators.
    """
    document = _parse(path)
    try:
        return schema.model_validate(_plain(document))
    except ValidationError as exc:
        errors = exc.errors()
        # A misspelt field is also a missing one; naming the misspelling helps.
        first: Any = next((error for error in errors if error["type"] == "extra_forbidden"), errors[0])
        where = ".".join(str(part) for part in first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        raise mistake(path, line_of(document, first["loc"]), f"{where}: {message}" if where else message) from exc


def load_all(folder: Path, schema: type[M]) -> dict[Path, M]:
    """Every ``*.yaml`` of a folder, by name. Raises NotStarted when there is none or one is wrong."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise NotStarted(f"There is no .yaml file in {folder}; it needs at least one.")
    return {path: load(path, schema) for path in paths}


def mistake(path: Path, line: int, message: str) -> NotStarted:
    """The error for a mistake in a configuration file, in the one form that all of them have."""
    return NotStarted(f"{path}, line {line}: {message}")


def line_in(path: Path, location: tuple[int | str, ...]) -> int:
    """The line of the value at ``location`` in a file, for mistakes that only show beside another file."""
    return line_of(_parse(path), location)


def _parse(path: Path) -> Any:
    reader = YAML(typ="rt")
    reader.allow_duplicate_keys = False
    try:
        document = reader.load(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        raise mistake(path, mark.line + 1 if mark else 1, str(exc.problem or exc.context).split("\n")[0]) from exc
    except (YAMLError, UnicodeDecodeError) as exc:
        raise mistake(path, 1, str(exc)) from exc
    except OSError as exc:
        raise NotStarted(f"The configuration file {path} cannot be read: {exc.strerror}.") from exc
    if document is None:
        raise mistake(path, 1, "the file is empty")
    return document


def line_of(document: Any, location: tuple[int | str, ...]) -> int:
    """The line of the value at ``location``, or of the nearest thing around it."""
    line, here = 1, document
    for part in location:
        if isinstance(here, CommentedMap) and part in here:
            line = here.lc.key(part)[0] + 1
        elif isinstance(here, CommentedSeq) and isinstance(part, int) and part < len(here):
            line = here.lc.item(part)[0] + 1
        elif isinstance(part, str) and not isinstance(here, CommentedMap | CommentedSeq):
            continue
        else:
            break
        here = here[part]
    return line


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return node
