from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from libs.common.config_file import load
from libs.common.errors import NotStarted
from services.health.domain import AccountFacts, Scalar, Segments, Stage, Stages, segment_of, stage_of
from services.health.domain.lifecycle import Condition
from tests.unit.health.cases import NOW, RULES, TODAY, account, back


@pytest.mark.parametrize(
    ("traits", "segment"),
    [
        ({"plan": "Enterprise"}, "enterprise"),
        ({"arr": 50_000}, "enterprise"),
        ({"arr": "49,999"}, "mid_market"),
        ({"arr": 10_000.0}, "mid_market"),
        ({"arr": 9_999}, "small_business"),
        ({"arr": "$120,000"}, "enterprise"),
        ({"arr": "120k", "plan": "starter"}, "enterprise"),
        ({"plan": "Enterprise (annual)"}, "enterprise"),
        ({"plan": "enterprise_2026"}, "enterprise"),
        ({"plan": "Enterprises"}, "small_business"),
        ({"plan": "starter"}, "small_business"),
        ({"arr": 0}, "small_business"),
        ({"arr": "a lot"}, "unknown"),
        ({"arr": "120.000", "plan": "business"}, "unknown"),
        ({}, "unknown"),
    ],
)
def test_shipped_segments(traits: dict[str, Scalar], segment: str) -> None:
    assert segment_of(account(traits=traits), RULES.segments, NOW) == segment


@pytest.mark.parametrize(
    ("known", "stage"),
    [
        ({}, Stage.ADOPTION),
        ({"first_seen_at": back(29)}, Stage.ONBOARDING),
        ({"first_seen_at": back(30)}, Stage.ADOPTION),
        ({"traits": {"renewal_date": (TODAY + timedelta(days=179)).isoformat()}}, Stage.RENEWAL),
        ({"traits": {"renewal_date": TODAY.isoformat() + "T23:59:00Z"}}, Stage.RENEWAL),
        ({"traits": {"renewal_date": (TODAY + timedelta(days=180)).isoformat()}}, Stage.ADOPTION),
        ({"traits": {"renewal_date": (TODAY - timedelta(days=1)).isoformat()}}, Stage.ADOPTION),
        ({"traits": {"renewal_date": "soon"}}, Stage.ADOPTION),
        ({"traits": {"expansion_opportunity": True}}, Stage.GROWTH),
        ({"traits": {"expansion_opportunity": "TRUE"}}, Stage.GROWTH),
        ({"traits": {"status": "Cancelled"}}, Stage.CHURNED),
        ({"traits": {"churned_at": TODAY.isoformat()}, "first_seen_at": back(3)}, Stage.CHURNED),
        ({"traits": {"churned_at": (TODAY + timedelta(days=1)).isoformat()}}, Stage.ADOPTION),
    ],
)
def test_shipped_stages(known: dict[str, Any], stage: Stage) -> None:
    assert stage_of(account(**known), RULES.stages, NOW) is stage


def test_an_account_of_which_nothing_is_known_has_both() -> None:
    nobody = AccountFacts(account_id="nobody")
    assert segment_of(nobody, RULES.segments, NOW) == "unknown"
    assert stage_of(nobody, RULES.stages, NOW) is Stage.ADOPTION


@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        ({"exists": True}, "x", True),
        ({"exists": True}, "", False),
        ({"exists": False}, None, True),
        ({"exists": False}, False, False),
        ({"in": ["Free", "trial"]}, " TRIAL ", True),
        ({"in": ["Free", "trial"]}, None, False),
        ({"first_word": "Pro"}, " PRO-annual ", True),
        ({"first_word": "Pro"}, "professional", False),
        ({"first_word": "Pro"}, None, False),
        ({"equals": 5}, "5.0", True),
        ({"equals": 0}, False, False),
        ({"equals": "5"}, 5, True),
        ({"equals": False}, False, True),
        ({"equals": True}, 1, False),
        ({"at_least": 1, "below": 2}, 1, True),
        ({"at_least": 1, "below": 2}, 2, False),
        ({"below": 2}, float("nan"), False),
        ({"below": 2}, True, False),
        ({"days_since": {"at_least": 2}}, back(2).isoformat(), True),
        ({"days_since": {"at_least": 3}}, back(2).isoformat(), False),
        ({"days_until": {"below": 0}}, back(1).date().isoformat(), True),
        ({"days_until": {"below": 10}}, 20260318, False),
    ],
)
def test_conditions(condition: dict[str, Any], value: Scalar | None, holds: bool) -> None:
    traits = {} if value is None else {"asked": value}
    assert Condition.model_validate({"trait": "asked", **condition}).holds(traits, TODAY) is holds


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({}, "asks one question about its trait, this asks 0"),
        ({"equals": 1, "exists": True}, "this asks 2"),
        ({"at_least": 2, "below": 2}, "no value is at least 2 and below 2"),
        ({"days_since": {}}, "give at_least, below, or both"),
        ({"in": []}, "at least 1 item"),
        ({"above": 3}, "Extra inputs are not permitted"),
    ],
)
def test_unclear_conditions_are_refused(condition: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Condition.model_validate({"trait": "asked", **condition})


def test_every_account_must_have_one_and_every_rule_its_chance() -> None:
    some = {"segment": "some", "when": [{"trait": "arr", "exists": True}]}
    with pytest.raises(ValidationError, match="the last rule must match every account"):
        Segments.model_validate({"segments": [some]})
    with pytest.raises(ValidationError, match="rule 1 matches every account"):
        Stages.model_validate({"stages": [{"stage": "growth"}, {"stage": "adoption"}]})


def test_a_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "stages.yaml"
    path.write_text(
        "stages:\n  - stage: onbording\n    when:\n      - {trait: arr, exists: true}\n  - stage: adoption\n"
    )
    with pytest.raises(NotStarted, match=r"stages\.yaml, line 2: stages\.0\.stage: Input should be 'onboarding'"):
        load(path, Stages)
