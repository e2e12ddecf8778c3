"""Every mistake in a configuration file is one sentence with the file and the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, model_validator

from libs.common.config_file import ConfigModel, load, load_all
from libs.common.errors import NotStarted


class Measure(ConfigModel):
    name: str
    weight: int = Field(ge=0)


class Model(ConfigModel):
    version: int
    measures: list[Measure]

    @model_validator(mode="after")
    def _adds_up(self) -> Model:
        if sum(measure.weight for measure in self.measures) != 100:
            raise ValueError("the weights of all measures must add up to 100")
        return self


def _load(folder: Path, content: str) -> Model:
    path = folder / "model.yaml"
    path.write_text(content)
    return load(path, Model)


def test_a_correct_file_becomes_its_schema(tmp_path: Path) -> None:
    model = _load(tmp_path, "version: 3\nmeasures:\n- {name: usage, weight: 100}\n")
    assert (model.version, model.measures[0].name) == (3, "usage")


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        ("version: 1\nmeasures:\n- name: usage\n  weight: -3\n", 4, "measures.0.weight: Input should be greater"),
        ("version: 1\nmeasures:\n- name: usage\n  wieght: 3\n", 4, "measures.0.wieght: Extra inputs"),
        ("version: 1\nmeasures:\n- name: usage\n  weight: 100\n- weight: 0\n", 5, "measures.1.name: Field required"),
        ("version: 1\nmeasures:\n- {name: usage, weight: 99}\n", 1, "must add up to 100"),
        ("version: 1\nmeasures: [\n", 3, "expected"),
        ("version: 1\nversion: 2\nmeasures: []\n", 2, "duplicate key"),
        ("", 1, "the file is empty"),
        ("- 1\n- 2\n", 1, "valid dictionary"),
        ("version: \x07\n", 1, "special characters are not allowed"),
    ],
)
def test_a_mistake_names_file_and_line(tmp_path: Path, content: str, line: int, says: str) -> None:
    with pytest.raises(NotStarted) as raised:
        _load(tmp_path, content)
    assert str(raised.value).startswith(f"{tmp_path / 'model.yaml'}, line {line}: ")
    assert says in str(raised.value)


def test_a_missing_file_or_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match=r"cannot be read: No such file"):
        load(tmp_path / "nowhere.yaml", Model)
    with pytest.raises(NotStarted, match=r"There is no \.yaml file"):
        load_all(tmp_path, Model)
