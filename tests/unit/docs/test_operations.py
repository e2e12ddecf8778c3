"""The page for operators: the metrics and the numbers that it names are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

from libs.common.burial import KEPT_DAYS
from libs.common.ddl import CLAIM_WINDOW_DAYS
from libs.common.received import BREAKER_LIMIT
from libs.common.settings import CommonSettings
from libs.common.topics import PARTITIONS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
METRIC = r"kizashi_[a-z_]+_(?:total|seconds|bytes|records|partitions)"


def metrics_of_the_code() -> set[str]:
    found: set[str] = set()
    for folder in ("libs", "services"):
        for file in (ROOT / folder).rglob("*.py"):
            found |= set(re.findall(rf'(?:Counter|Gauge|Histogram)\(\s*"({METRIC})"', file.read_text()))
    return found


def test_every_metric_that_a_page_names_exists() -> None:
    named = {name for document in DOCUMENTS for name in re.findall(METRIC, document.read_text())}
    assert named - metrics_of_the_code() == set()


def test_every_metric_of_the_code_is_explained_to_operators() -> None:
    explained = PAGE + (ROOT / "docs" / "when-reading-stops.md").read_text()
    assert metrics_of_the_code() - set(re.findall(METRIC, explained)) == set()


def test_the_numbers_are_those_of_the_code() -> None:
    assert (CLAIM_WINDOW_DAYS, CommonSettings.model_fields["log_retention_days"].default) == (7, 7)
    assert "| Claims | 7 days and today |" in PAGE
    assert (KEPT_DAYS, f"| Dead letters | {KEPT_DAYS} days" in PAGE) == (14, True)
    assert f"after {BREAKER_LIMIT} refused in a row" in PAGE
    assert (PARTITIONS, "A topic has twelve partitions" in PAGE) == (12, True)
