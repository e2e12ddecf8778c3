"""What ingest answers is what its OpenAPI document says, as schemathesis sees it: both the write and the admin part."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deploy.local.postgres import EmbeddedPostgres
from services.ingest.paths import PATHS
from tests.integration.ingest.one_process import OneProcess, ingest_process

IDS = {"key": "nobody", "key_id": "nobody", "public_id": "nobody", "source_id": "999"}
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture(scope="module")
def target(postgres: EmbeddedPostgres) -> Iterator[OneProcess]:
    with ingest_process(
        postgres, KIZASHI_INGEST_KEY_EVENTS_PER_S="0", KIZASHI_INGEST_KEY_IMPORT_EVENTS_PER_S="0"
    ) as one:
        yield one


def test_schemathesis_finds_no_failure(target: OneProcess, tmp_path: Path) -> None:
    run = subprocess.run(
        [Path(sys.executable).with_name("st"), "--config-file", CONFIGURATION, "run", f"{target.url}/openapi.json"],
        env=os.environ | {"API_KEY": target.installed.api_key, "WRITE_KEY": target.installed.write_key},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    tested = re.search(r"API Operations:\n *Selected: (\d+)/(\d+)\n *Tested: (\d+)", run.stdout)
    assert tested, run.stdout
    assert len(set(tested.groups())) == 1, "not every operation was tested"


def test_answers_are_counted_by_the_path_as_it_is_documented(target: OneProcess) -> None:
    """With or without a slash at its end, the whole of it, also where the method is refused."""
    documented = httpx.get(f"{target.url}/openapi.json").json()["paths"]
    with httpx.Client(base_url=target.url) as client:
        for path in documented:
            for method in ("GET", "POST", "DELETE"):
                client.request(method, path.format_map(IDS))
        for path in (*PATHS, "/sourceConfig"):
            client.post(f"{path}/")
            client.get(f"{path}/")
        metrics = client.get("/metrics").text
    counted = set(re.findall(r'^kizashi_http_requests_total{.*route="(.+?)"', metrics, re.MULTILINE))
    assert counted - {"none"} == set(documented)


def test_every_path_is_documented_and_every_reference_leads_somewhere(target: OneProcess) -> None:
    document = httpx.get(f"{target.url}/openapi.json").json()
    assert set(PATHS) < set(document["paths"])
    for reference in re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(document)):
        assert reference in document["components"]["schemas"]
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))
    assert "HTTPValidationError" not in json.dumps(document)
