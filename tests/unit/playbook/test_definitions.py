"""The files that customer-success people edit: what ships is right, and every mistake names its file and line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from libs.common.errors import NotStarted
from libs.common.events import Tier
from services.playbook.definitions import Playbook, Step, StepKind, load_catalogue
from tests.unit.playbook.examples import CONFIG, copy_config, edit


@pytest.fixture
def config(tmp_path: Path) -> Path:
    copy_config(tmp_path)
    return tmp_path


def test_what_ships_loads_highest_priority_first() -> None:
    assert [playbook.name for playbook in load_catalogue(CONFIG).playbooks] == ["account-silent", "usage-decline"]


def test_every_segment_that_ships_has_a_tier() -> None:
    segments = YAML(typ="safe").load(CONFIG / "segments.yaml")["segments"]
    assert {rule["segment"] for rule in segments} == set(load_catalogue(CONFIG).tiers.segments)


def test_every_template_that_ships_exists() -> None:
    parts = {StepKind.SLACK: ["slack.j2"], StepKind.EMAIL: ["subject.j2", "txt.j2", "html.j2"]}
    for playbook in load_catalogue(CONFIG).playbooks:
        for step in [step for steps in playbook.steps.values() for step in steps]:
            for part in parts.get(step.kind, []):
                assert (CONFIG / "messages" / "en" / f"{step.slack or step.email}.{part}").is_file()


def test_customers_of_tech_touch_get_no_slack_message_of_ours_and_others_no_email() -> None:
    for playbook in load_catalogue(CONFIG).playbooks:
        for tier, steps in playbook.steps.items():
            kinds = {step.kind for step in steps}
            assert (StepKind.EMAIL in kinds) == (tier is Tier.TECH), (playbook.name, tier)
            assert (StepKind.SLACK in kinds) == (tier is not Tier.TECH), (playbook.name, tier)


def test_a_segment_that_is_not_listed_gets_a_person_first() -> None:
    assert load_catalogue(CONFIG).tiers.of("partner") is Tier.LOW


@pytest.mark.parametrize("playbook", load_catalogue(CONFIG).playbooks, ids=lambda playbook: playbook.name)
def test_a_definition_survives_being_stored(playbook: Playbook) -> None:
    assert Playbook.model_validate_json(playbook.model_dump_json(exclude_none=True)) == playbook


def test_a_step_says_what_it_is() -> None:
    steps = [{"slack": "a"}, {"email": "b"}, {"wait_days": 3}, "end"]
    assert [Step.model_validate(step).kind for step in steps] == list(StepKind)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("version: 1", "version: 0", "version: Input should be greater than or equal to 1"),
        ("priority: 50", "priority: 80", "priority: account-silent has 80 too"),
        ("name: usage-decline", "name: decline", "name: decline is in a file called usage-decline.yaml"),
        ("name: usage-decline", "name: Usage Decline", "name: String should match pattern"),
        ("title: Usage decline", "titel: Usage decline", "titel: Extra inputs are not permitted"),
        ("trigger:\n  band_worsens_to: [yellow, red]", "trigger: {}", "trigger: give one of band_worsens_to"),
        ("band_worsens_to: [yellow, red]", "band_worsens_to: [green]", "trigger.band_worsens_to.0: Input should be"),
        ("goal: [green_again]", "goal: [better]", "goal.0: Input should be 'green_again' or 'active_again'"),
        ("cool_down_days: 30", "cool_down_days: soon", "cool_down_days: Input should be a valid integer"),
        ("wait_days: 14", "wait_days: 0", "steps.tech_touch.0.wait_days: Input should be greater"),
        ("wait_days: 14", "wait_dais: 14", "steps.tech_touch.0.wait_dais: Extra inputs are not permitted"),
        ("email: usage-decline", "email: ../../etc/passwd", "steps.tech_touch.1.email: String should match pattern"),
        ("- email: usage-decline", "- stop", "steps.tech_touch.1: Input should be a valid dictionary"),
        ("- email: usage-decline", "- {email: a, slack: b}", "steps.tech_touch.1: Value error, a step is one of"),
    ],
)
def test_a_mistake_in_a_playbook_names_file_and_line(config: Path, old: str, new: str, says: str) -> None:
    path = config / "playbooks" / "usage-decline.yaml"
    line = edit(path, old, new)
    with pytest.raises(NotStarted) as raised:
        load_catalogue(config)
    assert str(raised.value).startswith(f"{path}, line {line}: {says.replace('Value error, ', '')}"), raised.value


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("[{slack: a}]", "steps.low_touch: the last step, and only that, is end"),
        ("[end, {slack: a}, end]", "steps.low_touch: the last step, and only that, is end"),
        ("[]", "steps.low_touch: the last step, and only that, is end"),
    ],
)
def test_steps_have_one_end(config: Path, steps: str, says: str) -> None:
    path = config / "playbooks" / "usage-decline.yaml"
    start = path.read_text().index("  low_touch:")
    end = path.read_text().index("  tech_touch:")
    line = edit(path, path.read_text()[start:end], f"  low_touch: {steps}\n")
    with pytest.raises(NotStarted, match=f"line {line}: {says}"):
        load_catalogue(config)


def test_a_tier_without_steps_is_a_mistake(config: Path) -> None:
    path = config / "playbooks" / "usage-decline.yaml"
    text = path.read_text()
    path.write_text(text[: text.index("  low_touch:")] + text[text.index("  tech_touch:") :])
    line = text[: text.index("steps:")].count("\n") + 1
    with pytest.raises(NotStarted, match=f"line {line}: steps: every tier says what it does; low_touch is missing"):
        load_catalogue(config)


def test_a_tier_that_is_told_in_slack_needs_a_channel(config: Path) -> None:
    path = config / "playbooks" / "account-silent.yaml"
    edit(config / "touch_tiers.yaml", '  low_touch: "#customer-success-pool"\n', "")
    line = edit(path, "  low_touch:\n    - slack:", "  low_touch:\n    - slack:") + 1
    with pytest.raises(NotStarted) as raised:
        load_catalogue(config)
    assert str(raised.value) == f"{path}, line {line}: low_touch has no slack_channels in touch_tiers.yaml"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("enterprise: high_touch", "enterprise: white_glove", "segments.enterprise: Input should be 'high_touch'"),
        ("otherwise: low_touch", "otherwise: nobody", "otherwise: Input should be 'high_touch'"),
        ('high_touch: "#customer-success"', "high_touch: customer success", "slack_channels.high_touch: String should"),
    ],
)
def test_a_mistake_in_the_tiers_names_file_and_line(config: Path, old: str, new: str, says: str) -> None:
    path = config / "touch_tiers.yaml"
    line = edit(path, old, new)
    with pytest.raises(NotStarted) as raised:
        load_catalogue(config)
    assert str(raised.value).startswith(f"{path}, line {line}: {says}")


def test_an_unquoted_slack_channel_is_a_comment_and_said_to_be_missing(config: Path) -> None:
    line = edit(config / "touch_tiers.yaml", 'high_touch: "#customer-success"', "high_touch: #customer-success")
    with pytest.raises(NotStarted, match=f"touch_tiers.yaml, line {line}: slack_channels.high_touch"):
        load_catalogue(config)


def test_no_playbook_at_all_is_a_sentence(config: Path) -> None:
    shutil.rmtree(config / "playbooks")
    with pytest.raises(NotStarted, match=r"no \.yaml file in"):
        load_catalogue(config)
