"""Where CPU time went, by the files that were at work."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import msgspec
import pytest

from bench.figures import NotMeasured
from bench.ingest_profile import PARTS, shares
from bench.sampling import Sampled, sampled


def busy(seconds: float) -> int:
    end, turns = process_time() + seconds, 0
    while process_time() < end:
        turns += 1
    return turns


def test_what_is_at_work_is_seen_by_its_file_and_function(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    with sampled(found):
        assert busy(0.1)
    seen = msgspec.json.decode(found.read_bytes(), type=Sampled)
    assert sum(seen.files.values()) >= 5
    assert max(seen.functions, key=lambda name: seen.functions[name]).endswith("test_ingest_profile.py:busy")


def test_each_file_is_of_the_first_part_that_fits_and_the_shares_are_all_of_it() -> None:
    files = {
        "/a/services/ingest/domain/times.py": 400,
        "/a/services/ingest/publisher.py": 100,
        "/a/services/ingest/collector.py": 200,
        "/a/site-packages/uvicorn/server.py": 200,
        "/a/site-packages/prometheus_client/metrics.py": 50,
        "<string>": 50,
    }
    found = shares("ingest_single", Sampled(files, {}))
    assert found == {
        "ingest_single_in_judging_share": 0.4,
        "ingest_single_in_log_share": 0.1,
        "ingest_single_in_request_share": 0.2,
        "ingest_single_in_server_share": 0.2,
        "ingest_single_in_metrics_share": 0.05,
        "ingest_single_in_rest_share": 0.05,
    }
    assert len(found) == len(PARTS) + 1


def test_too_few_looks_are_no_measurement() -> None:
    with pytest.raises(NotMeasured, match="looked at 3 times"):
        shares("ingest_single", Sampled({"a.py": 3}, {}))
