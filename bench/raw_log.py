"""python -m bench.raw_log: what the event log takes from many callers, with nothing before it; a line of JSON out.

Told on its command line, as JSON: the fields of Asked. The log is the one of the environment's KIZASHI_… settings.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Sequence
from time import monotonic, process_time

import msgspec
import uvloop

from bench.calls import call, records
from libs.common.clock import wall_now
from libs.common.event_log import EventLog, Record
from libs.common.event_log_open import event_log
from libs.common.observability import configure_logging
from libs.common.settings import CommonSettings, load
from libs.common.topics import Topic
from services.ingest.bootstrap import Installed

PREPARED_BATCHES = 50


class Asked(msgspec.Struct):
    """``callers`` append batches of ``records`` for ``seconds``, after ``warm_seconds`` that do not count."""

    workspace: int
    source: int
    callers: int
    records: int
    warm_seconds: float
    seconds: float


class Appended(msgspec.Struct):
    """``records`` within ``seconds``, at ``cpu_seconds`` of the process; ``in_all`` counts the warming too."""

    records: int
    seconds: float
    cpu_seconds: float
    in_all: int


async def measure(log: EventLog, batches: Sequence[Sequence[Record]], asked: Asked) -> Appended:
    prepared = itertools.cycle(batches)
    appended = 0
    stopping = False

    async def call_again_and_again() -> None:
        nonlocal appended
        while not stopping:
            batch = next(prepared)
            await log.append(Topic.TELEMETRY, batch)
            appended += len(batch)

    async with asyncio.TaskGroup() as callers:
        for _ in range(asked.callers):
            callers.create_task(call_again_and_again())
        await asyncio.sleep(asked.warm_seconds)
        before, began, cpu_before = appended, monotonic(), process_time()
        await asyncio.sleep(asked.seconds)
        counted, seconds, cpu_seconds = appended - before, monotonic() - began, process_time() - cpu_before
        stopping = True
    return Appended(counted, seconds, cpu_seconds, appended)


async def _run(asked: Asked) -> Appended:
    settings = load(CommonSettings)
    log = event_log(settings.event_log_url, name="bench raw log", kafka=settings.kafka_access)
    source = Installed(asked.workspace, asked.source, "", "")
    now = wall_now()
    batches = [
        records([call(number * asked.records + one, f"{number}-{one}", now) for one in range(asked.records)], source)
        for number in range(PREPARED_BATCHES)
    ]
    await log.open()
    try:
        return await measure(log, batches, asked)
    finally:
        await log.close()


if __name__ == "__main__":
    configure_logging("bench raw log", "warning")
    asked = msgspec.json.decode(sys.argv[1], type=Asked)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(msgspec.json.encode(runner.run(_run(asked))).decode())
