"""Hostile and strange requests, one a file, each with the exact answer beside it.

``what`` says what it is; ``request`` is written as wire.py reads it; ``answer`` is the status and the JSON of the
body, null for an empty one, or "closed" when the connection ends without an answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local.postgres import EmbeddedPostgres
from tests.integration.ingest.hostile.wire import Answer, exchange
from tests.integration.ingest.one_process import OneProcess, ingest_process

CASES = sorted(Path(__file__).parent.glob("*.json"))
SLOW = [case for case in CASES if case.stem.startswith("http-slow")]
GOOD = {"path": "/v1/track", "body": '{"event":"Report Exported","userId":"u1"}'}


@pytest.fixture(scope="module")
def target(postgres: EmbeddedPostgres) -> Iterator[OneProcess]:
    """Without quotas, since it gets batches of a hundred thousand events."""
    with ingest_process(
        postgres,
        KIZASHI_INGEST_READ_DEADLINE_SECONDS="2",
        KIZASHI_INGEST_KEY_EVENTS_PER_S="0",
        KIZASHI_INGEST_KEY_IMPORT_EVENTS_PER_S="0",
    ) as one:
        yield one


@pytest.fixture(scope="module")
def slow(target: OneProcess) -> Iterator[Mapping[Path, Future[Answer | None]]]:
    """Requests that wait until they are cut off, all at once and while others are sent."""
    with ThreadPoolExecutor(len(SLOW)) as threads:
        yield {case: threads.submit(exchange, target, json.loads(case.read_text())["request"]) for case in SLOW}


@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_it_gets_exactly_this_answer_and_harms_nobody(
    target: OneProcess, slow: Mapping[Path, Future[Answer | None]], case: Path
) -> None:
    written = json.loads(case.read_text())
    answer = slow[case].result() if case in slow else exchange(target, written["request"])
    if answer is None:
        assert written["answer"] == "closed"
    else:
        body = json.loads(answer.body) if answer.body else None
        assert {"status": answer.status, "body": body} == written["answer"]
        assert answer.headers["x-request-id"]
        assert answer.headers["vary"] == "Origin"
        assert body is None or answer.headers["content-type"] == "application/json"
    good = exchange(target, GOOD)
    assert good is not None
    assert good.status == 200
