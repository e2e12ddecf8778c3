"""What comes out of the bench: figures over runs, the table, the line of JSON, the picture."""

import json
import os
from xml.etree import ElementTree

import pytest

from bench.figures import NotMeasured, figures_of, unit_of
from bench.plot import svg
from bench.table import json_line, shown, table

RUNS = [
    {"ingest_batch100_events_per_s": 41_234.56, "ingest_batch100_p99_ms": 98.765, "a_over_b": 0.61234},
    {"ingest_batch100_events_per_s": 50_000.0, "ingest_batch100_p99_ms": 120.0, "a_over_b": 0.7},
    {"ingest_batch100_events_per_s": 30_000.4, "ingest_batch100_p99_ms": 80.0, "a_over_b": 0.5},
]


def test_a_figure_has_the_least_the_median_and_the_most_of_the_runs() -> None:
    first, *_ = figures_of(RUNS)
    assert (first.name, first.least, first.middle, first.most) == (
        "ingest_batch100_events_per_s",
        30_000.4,
        41_234.56,
        50_000.0,
    )


def test_a_figure_that_a_run_lacks_is_left_out_of_that_run() -> None:
    assert [figure.values for figure in figures_of([{"a_ms": 1.0}, {"b_ms": 5.0}, {"a_ms": 3.0}])] == [
        (1.0, 3.0),
        (5.0,),
    ]


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("ingest_batch100_events_per_s", "events/s"),
        ("ingest_single_requests_per_s", "requests/s"),
        ("accounts_scored_per_s", "accounts/s"),
        ("health_drain_1k_accounts_events_per_s", "events/s"),
        ("ingest_cpu_s_per_million", "CPU s per million"),
        ("accepted_to_slack_p99_ms", "ms"),
        ("health_drain_over_claims_only", "ratio"),
        ("ingest_single_load_cpu_share", "share"),
        ("ingest_rss_mb", "MB"),
        ("rss_mb_total", "MB"),
        ("wave_s", "s"),
    ],
)
def test_a_name_says_its_unit(name: str, unit: str) -> None:
    assert unit_of(name) == unit


def test_a_name_without_a_unit_is_refused() -> None:
    with pytest.raises(NotMeasured, match="ingest_speed does not say its unit"):
        unit_of("ingest_speed")


@pytest.mark.parametrize(
    ("value", "text"),
    [(41_234.56, "41,235"), (713.649, "713.6"), (98.765, "98.77"), (0.61234, "0.6123"), (0, "0"), (3.0, "3")],
)
def test_a_number_has_as_many_digits_as_a_measurement_is_good_for(value: float, text: str) -> None:
    assert shown(value) == text


def test_the_table_has_a_line_for_each_figure() -> None:
    head, first, *_ = table(figures_of(RUNS)).splitlines()
    assert head.split() == ["figure", "least", "median", "most", "unit"]
    assert first.split() == ["ingest_batch100_events_per_s", "30,000", "41,235", "50,000", "events/s"]


def test_the_line_of_json_has_the_medians_by_name() -> None:
    assert json.loads(json_line(figures_of(RUNS), log="kafka", runs=3, quick=False)) == {
        "log": "kafka",
        "runs": 3,
        "quick": False,
        "cores": os.cpu_count(),
        "ingest_batch100_events_per_s": 41235,
        "ingest_batch100_p99_ms": 98.77,
        "a_over_b": 0.6123,
    }


def test_the_picture_names_every_figure_and_unit() -> None:
    drawn = ElementTree.fromstring(svg(figures_of(RUNS), "Kizashi & friends"))
    texts = {element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= {"Kizashi & friends", *RUNS[0], "events/s", "ms", "ratio", "41,235"}
