"""The load that the bench sends, and how it is counted."""

import json

import pytest

from bench.calls import batch, call, records, single
from bench.figures import NotMeasured
from bench.ingest import BATCHES, SINGLES, Loaded, check_growth, figures_of_load
from bench.load import Driven
from bench.scenarios import ONLY_WHEN_NAMED, SCENARIOS, choose
from libs.common.clock import wall_now
from libs.common.errors import NotStarted
from services.ingest.bootstrap import Installed


def test_a_call_has_about_300_bytes_and_an_account_of_its_own() -> None:
    calls = [call(number, f"id-{number}", wall_now(), accounts=50) for number in range(100)]
    assert all(280 <= len(single(one)) <= 330 for one in calls)
    assert len({one["context"]["groupId"] for one in calls}) == 50
    assert json.loads(batch(calls))["batch"] == calls


def test_records_are_what_ingest_makes_of_calls() -> None:
    made = records([call(7, "id-7", wall_now())], Installed(workspace=3, source=4, write_key="", api_key=""))
    value = json.loads(made[0].value)
    assert (value["workspace"], value["source"], value["id"], value["account_id"]) == (3, 4, "id-7", "account-00007")


def test_every_call_of_a_body_has_an_id_that_its_request_makes_its_own() -> None:
    first, *others = BATCHES.bodies().splitlines()
    assert [one["messageId"] for one in json.loads(first)["batch"]] == [f"@-{number}" for number in range(100)]
    assert all(body.count(b"@") == 100 for body in [first, *others])
    assert all(body.count(b"@") == 1 for body in SINGLES.bodies().splitlines())


@pytest.mark.parametrize("grown", [1000, 1000 + 2 * 32 * 100])
def test_what_wrk_did_not_wait_for_may_be_in_the_log(grown: int) -> None:
    check_growth(BATCHES, requests=10, grown=grown)


@pytest.mark.parametrize("grown", [999, 1001 + 2 * 32 * 100])
def test_a_log_that_does_not_have_what_was_accepted_is_no_measurement(grown: int) -> None:
    with pytest.raises(NotMeasured, match=f"the log has {grown} more"):
        check_growth(BATCHES, requests=10, grown=grown)


def test_figures_are_of_events_and_their_costs_of_a_million() -> None:
    driven = Driven(requests=1_000, seconds=2.0, p50_ms=40, p99_ms=90, cpu_seconds=0.5)
    found = figures_of_load("ingest_batch100", BATCHES, Loaded(driven, 2.0, 1.5, requests=1_100))
    assert found == {
        "ingest_batch100_events_per_s": 50_000,
        "ingest_batch100_p50_ms": 40,
        "ingest_batch100_p99_ms": 90,
        "ingest_batch100_cpu_s_per_million": 20,
        "ingest_batch100_store_cpu_s_per_million": 15,
        "ingest_batch100_load_cpu_share": 0.125,
    }


def test_scenarios_are_chosen_by_name() -> None:
    assert list(choose(["ingest"], quick=False)) == ["ingest"]
    assert list(choose([], quick=False)) == [name for name in SCENARIOS if name not in ONLY_WHEN_NAMED]
    assert list(choose([], quick=True)) == ["ingest", "health", "scoring", "end_to_end"]
    assert list(choose(["endurance"], quick=True)) == ["endurance"]
    with pytest.raises(NotStarted, match="no scenario digest; ONLY takes some of ingest"):
        choose(["digest"], quick=False)
