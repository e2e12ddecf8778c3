"""One town per engine and pytest process, and a table of what each fault did to it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from deploy.local.kafka_jars import DEFAULT_FOLDER

pytest.register_assert_rewrite(
    "tests.faults.every_fault", "tests.faults.lost_records", "tests.faults.negative_controls"
)

from tests.faults.nursery import ROOT  # noqa: E402
from tests.faults.running import Run  # noqa: E402 - after its assertions are told to explain themselves
from tests.faults.schedule import Engine  # noqa: E402
from tests.faults.table import HEADINGS, Row, lines_of, row_of  # noqa: E402
from tests.faults.town import Town, town  # noqa: E402

PROPERTY = "faults"
LOGS = ROOT / ".kizashi" / "faults"
"""Of the last run of each module; they outlive it."""

Tell = Callable[[str, Run], None]
"""Puts a run into the table, under the name of what befell it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="town")
async def running_town(request: pytest.FixtureRequest) -> AsyncIterator[Town]:
    """The town of the module's ``ENGINE``. It serves all tests of the module, so each leaves it well."""
    engine = request.module.ENGINE
    jars: Path = request.getfixturevalue("kafka_jars") if engine is Engine.KAFKA else DEFAULT_FOLDER
    logs = LOGS / request.module.__name__.rpartition(".")[2]
    async with town(engine, logs, kafka_jars=jars) as made:
        yield made
        if getattr(request.module, "NOBODY_IS_TOLD_TWICE", True):
            await assert_nobody_was_told_twice(made)


async def assert_nobody_was_told_twice(town: Town) -> None:
    """In any of the runs, or after them: a zombie may speak when its run has long been judged."""
    async with httpx.AsyncClient(timeout=10) as http:
        answer = await http.get(f"{town.inbox_url}/v1/messages")
    told = Counter(
        message["metadata"]["event_payload"]["delivery_id"]
        for message in answer.raise_for_status().json()["messages"]
        if message["channel"] == "slack"
    )
    assert {delivery: times for delivery, times in told.items() if times > 1} == {}


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    def put(fault: str, run: Run) -> None:
        record_property(PROPERTY, json.dumps(row_of(fault, run.history)))

    return put


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        Row(*json.loads(value))
        for report in terminalreporter.getreports("passed")
        for name, value in getattr(report, "user_properties", [])
        if name == PROPERTY and report.when == "call"
    ]
    if rows:
        terminalreporter.section("faults")
        for line in lines_of([HEADINGS, *rows]):
            terminalreporter.write_line(line)
