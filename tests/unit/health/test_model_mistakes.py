"""Every mistake in a model is refused in one sentence, with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from libs.common.config_file import load
from libs.common.errors import NotStarted
from services.health.domain import HealthModel
from tests.unit.health.configuration import CONFIG

SHIPPED = (CONFIG / "health" / "default.yaml").read_text()


def line_of(excerpt: str) -> int:
    return SHIPPED[: SHIPPED.index(excerpt)].count("\n") + 1


def refusal(tmp_path: Path, wrong: str) -> str:
    path = tmp_path / "wrong.yaml"
    path.write_text(wrong)
    with pytest.raises(NotStarted) as caught:
        load(path, HealthModel)
    return str(caught.value).removeprefix(str(path))


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("weight: 25\n", "weight: 24\n", "the dimensions' weights add up to 99, not to 100"),
        ("weight: 60\n", "weight: 60.5\n", "the measures' weights add up to 100.5, not to 100"),
        ("at_least: 1, below: 2,", "at_least: 1, below: 1.5,", "nothing is said for values from 1.5 to below 2"),
        ("at_least: 1, below: 2,", "at_least: 1, below: 2.5,", "values from 2 to below 2.5 fall into two steps"),
        ("at_least: 1, below: 2,", "at_least: 1,", "only the last no below"),
        ("{below: 1, marks: 100}", "{at_least: 0, below: 1, marks: 100}", "nothing is said for values below 0"),
        ("{at_least: 3, marks: 0}", "{at_least: 3, below: 9, marks: 0}", "nothing is said for values from 9"),
        ("full_from: 0.85, zero_at: 0.5", "full_from: 0.5, zero_at: 0.5", "zero_at 0.5 must be below full_from 0.5"),
        ("zero_at: 0.5}", "zero_at: 0.5, current_days: 30}", "current_days reaches into the baseline"),
        ("zero_at: 0.5}", "zero_at: 0.5, least_weeks: 9}", "the baseline has 8 weeks, fewer than least_weeks 9"),
        ("zero_at: 0.1, full_from: 0.6", "zero_at: 0.6, full_from: 0.6", "zero_at and full_from must differ"),
        ("full_until_working_days: 3", "full_until_working_days: 10", "must be less than zero_from_working_days"),
        ("yellow_from: 50", "yellow_from: 75", "yellow_from 75 must be below green_from 75"),
        ("id: breadth", "id: seats_used", "2 measures are called seats_used"),
        ("id: experience", "id: usage", "2 dimensions are called usage"),
        ("features: any", "features: []", "nothing feeds breadth: its list of events is empty"),
        (
            "features: any",
            "features: [Report Exported, $group]",
            "nothing feeds breadth with '$group': activity.exclude_events leaves it out",
        ),
        ("closed_by: Ticket Closed\n          ", "", "matched_by without closed_by closes nothing"),
        (
            "kind: usage, events: activity}\n        transform: {kind: rec",
            "kind: usage, events: activity, window_days: 7}\n        transform: {kind: rec",
            "recency brings its own windows",
        ),
        ("{kind: active_people, window_days: 28, per_trait: seats}", "{kind: usage}", "linear needs window_days"),
        (
            "{kind: linear, zero_at: 0, full_from: 4}",
            "{kind: recency, full_until_working_days: 1, zero_from_working_days: 9}",
            "recency needs an input of kind usage, not features_used",
        ),
        ("kind: linear, zero_at: 0,", "kind: logarithm, zero_at: 0,", "'logarithm' found using 'kind' does not match"),
        ("least_coverage: 0.6", "least_coverage: 50", "less than or equal to 1"),
        ("margin: 3", "margins: 3", "bands.margins: Extra inputs are not permitted"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, right: str, wrong: str, message: str) -> None:
    assert right in SHIPPED
    said = refusal(tmp_path, SHIPPED.replace(right, wrong, 1))
    assert message in said
    assert said.startswith(", line ")


@pytest.mark.parametrize(
    ("right", "wrong", "at"),
    [
        ("weight: 60\n", "weight: 70\n", "- id: adoption"),
        ("at_least: 1, below: 2,", "at_least: 1, below: 1.5,", "transform:\n          kind: bands"),
        ("zero_at: 0.1, full_from: 0.6", "zero_at: 0.6, full_from: 0.6", "transform: {kind: linear, zero_at: 0.1"),
        ("margin: 3", "margin: minus three", "margin: 3"),
    ],
)
def test_the_line_is_where_to_look(tmp_path: Path, right: str, wrong: str, at: str) -> None:
    assert refusal(tmp_path, SHIPPED.replace(right, wrong, 1)).startswith(f", line {line_of(at)}: ")


def test_the_model_says_what_it_needs_to_be_told() -> None:
    model = load(CONFIG / "health" / "default.yaml", HealthModel)
    assert model.days_of_history == 84
    assert model.people_windows == {28}
    assert model.kept_properties == {
        "Ticket Opened": {"priority", "ticket_id"},
        "Ticket Closed": {"ticket_id"},
    }


@pytest.mark.parametrize(
    ("right", "edited", "judges_otherwise"),
    [
        ("version: 1", "version: 2", False),
        ("title: Usage\n", "title: How much it is used\n", False),
        ("title: Urgent tickets\n", "title: Fires\n", False),
        ("full_until_working_days: 3", "full_until_working_days: 4", True),
        ("weight: 60\n        warmup_days: 28", "weight: 60\n        warmup_days: 27", True),
        ("green_from: 75", "green_from: 76", True),
        ("exclude_people: []", "exclude_people: [robot]", True),
    ],
)
def test_only_what_judges_otherwise_is_another_model(
    tmp_path: Path, right: str, edited: str, judges_otherwise: bool
) -> None:
    assert right in SHIPPED
    path = tmp_path / "edited.yaml"
    path.write_text(SHIPPED.replace(right, edited, 1))
    shipped = load(CONFIG / "health" / "default.yaml", HealthModel)
    assert (load(path, HealthModel).fingerprint != shipped.fingerprint) is judges_otherwise
