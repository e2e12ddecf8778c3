"""The page that follows one event: its stops, and that everything it names is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from libs.common import config_file
from libs.common.events import Band
from services.health.domain import HealthModel
from services.health.domain.bands import BandState, settle_band
from services.health.domain.model import Bands
from services.health.domain.tenths import tenths
from services.health.score_worker import Pace
from tests.faults.schedule import POINTS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "follow-one-event.md").read_text()
STOPS = re.findall(r"^## (\d+)\. (\w[\w ]*)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
STRUCK = {point for points in POINTS.values() for point in points}


def part(text: str, label: str) -> str:
    """What the stop's line with this label says; empty if it has none."""
    found = re.search(rf"^- \*\*{label}:?\*\*(.*?)(?=^- \*\*|^\s*$|\Z)", text, re.MULTILINE | re.DOTALL)
    return found.group(1) if found else ""


def names_in(file: Path) -> Iterator[str]:
    """Functions, classes, and methods as ``Class.method``."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield f"{node.name}.{inner.name}"


def test_there_are_nine_stops_in_their_order() -> None:
    assert [number for number, _, _ in STOPS] == [str(n) for n in range(1, 10)]
    drawn = re.findall(r"(\d) (\w+(?: \w+)*)", PAGE.split("```")[1])
    assert drawn == [(number, title.lower()) for number, title, _ in STOPS]


def test_the_services_are_passed_in_the_order_of_the_picture() -> None:
    passed: list[str] = []
    for _, _, text in STOPS:
        for service in re.findall(r"`services/(\w+)/", part(text, "Code")):
            if passed[-1:] != [service]:
                passed.append(service)
    assert passed == ["ingest", "health", "playbook", "notify", "playbook"]


@pytest.mark.parametrize(("number", "title", "text"), STOPS, ids=[title for _, title, _ in STOPS])
def test_a_stop_says_where_it_is_what_is_durable_and_what_a_crash_costs(number: str, title: str, text: str) -> None:
    code = part(text, "Code")
    named = re.findall(r"`([\w/]+\.py)`\s+`([\w.]+)`", code)
    assert len(named) * 2 == code.count("`") // 2, "each file is followed by what to look at in it"
    missing = [f"{file} {name}" for file, name in named if name not in set(names_in(ROOT / file))]
    assert named
    assert missing == []
    assert part(text, "Durable")
    assert part(text, "A crash costs")
    struck = re.findall(r"`([\w.]+)`", part(text, "Struck at"))
    assert struck or number == "1", "before the first stop is passed there is nothing to lose"
    assert set(struck) <= STRUCK


def test_every_failpoint_at_which_the_tests_strike_belongs_to_a_stop() -> None:
    named = {point for _, _, text in STOPS for point in re.findall(r"`([\w.]+)`", part(text, "Struck at"))}
    assert STRUCK - named == set()


def test_the_ticket_costs_what_the_page_says_and_takes_the_account_out_of_green_at_once() -> None:
    model = config_file.load(ROOT / "config" / "health" / "default.yaml", HealthModel)
    dimension, measure = next(
        (dimension, measure)
        for dimension in model.dimensions
        for measure in dimension.measures
        if measure.id == "urgent_tickets"
    )
    assert isinstance(measure.transform, Bands)
    lost = 100 - measure.transform.steps[1].marks
    assert dimension.weight * measure.weight * lost / 100**2 == 12
    assert "the open ticket costs 12 points, 80 becomes 68, which is 7 points below green" in " ".join(PAGE.split())
    assert model.bands.green_from - 68 == 7
    after = settle_band(BandState(band=Band.GREEN), tenths(68), datetime(2026, 11, 11, tzinfo=UTC), model.bands)
    assert after.band is Band.YELLOW
    assert (Pace().urgent_settles, Pace().news_settles) == (timedelta(seconds=0.25), timedelta(seconds=1))
