"""Records that a reader had not read are gone from the log, on every engine: nothing is passed over in silence, and
what an operator lets it pass over is all that is missing.

The modules ``test_lost_on_…`` run these, each in one town.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import httpx

from libs.common.event_log import TopicPartition
from libs.common.testing import eventually
from libs.common.topics import Topic
from services.ingest.bootstrap import Installed
from tests.faults.checker import check
from tests.faults.commands import kizashi
from tests.faults.conftest import Tell
from tests.faults.every_fault import GREEN_WITHIN_SECONDS
from tests.faults.history import History
from tests.faults.old_records import expire, positions_of, readable, records_of, without
from tests.faults.running import Run, under_load
from tests.faults.table import row_of
from tests.faults.town import Town

READERS = ("health-0", "health-1")
WAITING_RECORDS = 24
"""In the partition that will be struck, of which half are lost."""


class LostRecords:
    async def test_retention_passes_a_group_that_is_stopped(self, town: Town, tell: Tell) -> None:
        async with under_load(town) as run:
            at = run.recorder.now()
            await asyncio.gather(*(process.stop() for process in town.of("health")))
            place, position = await until_one_is_behind(town)
            border = position + WAITING_RECORDS // 2
            async with readable(town) as log:
                held = await records_of(log, [place])
                await expire(town, place, border)
                ends = await log.ends()
            await asyncio.gather(*(process.start() for process in town.of("health")))
            sentence = await until_it_is_said(town, place)
            assert (
                f"telemetry/{place.partition} cannot be read from position {position}: the log holds {border} to"
                in (sentence)
            )
            assert "older records were dropped" in sentence
            await until_the_others_are_read(town, place, ends)
            assert (await positions_of(town, "health", Topic.TELEMETRY))[place] == position, "it stands where it stood"
            await assert_everybody_knows(town, run.load.keys, place, sentence)
            skip = re.search(r"`kizashi (log skip [^`]+)`", sentence)
            assert skip is not None, sentence
            status, said = await kizashi(town, *skip[1].split(), "--yes", keys=run.load.keys)
            assert status == 0, said
            assert f"{border - position} records are passed over" in said
            run.recorder.note_fault("retention passed health", at, run.recorder.now())
            await town.until_ready(GREEN_WITHIN_SECONDS)
            assert await total(town, "kizashi_consumer_stopped_partitions", cause="lost") == 0
        applied = [one for one in held if one.offset < position]
        again = {one.event_id for one in run.history.log or () if one.topic == Topic.TELEMETRY}
        gone = {one.event_id for one in held if position <= one.offset < border} - again
        gone -= {one.event_id for one in applied}
        assert gone
        assert_nothing_else_is_missing(run, without(run.history, gone, applied), tell, f"{len(gone)} records expired")


def assert_nothing_else_is_missing(run: Run, history: History, tell: Tell, what: str) -> None:
    findings = check(history)
    assert findings == [], "\n".join(["", *map(str, findings[:20]), f"logs are in {run.town.logs}"])
    assert row_of(what, history).applied == row_of(what, history).accepted
    tell(what, run)


async def until_one_is_behind(town: Town) -> tuple[TopicPartition, int]:
    """Enough records wait in a partition for who is stopped; that, and the position."""
    found: list[tuple[TopicPartition, int]] = []

    async def waits() -> bool:
        positions, ends = await positions_of(town, "health", Topic.TELEMETRY), await log.ends()
        found[:] = [(place, at) for place, at in positions.items() if ends[place] - at >= WAITING_RECORDS]
        return bool(found)

    async with readable(town) as log:
        await eventually(waits, what="records wait for health")
    return found[0]


async def until_it_is_said(town: Town, place: TopicPartition) -> str:
    """By the owner of the partition, and by nobody else; its sentence."""
    found: dict[str, str] = {}

    async def is_said() -> bool:
        found.clear()
        found.update(await town.problems())
        return len(found) == 1 and "log skip" in "".join(found.values())

    await eventually(is_said, within_seconds=60, what="one process says that its partition is stopped")
    [(name, sentence)] = found.items()
    assert name in READERS
    assert f"log skip health telemetry {place.partition} " in sentence
    return sentence


async def until_the_others_are_read(town: Town, place: TopicPartition, ends: Mapping[TopicPartition, int]) -> None:
    async def are_read() -> bool:
        positions = await positions_of(town, "health", Topic.TELEMETRY)
        return all(position >= ends[other] for other, position in positions.items() if other != place)

    await eventually(are_read, within_seconds=20, what="all other partitions are read")


async def assert_everybody_knows(town: Town, keys: Installed, place: TopicPartition, sentence: str) -> None:
    """The metrics, and the log API of the process that does not own the partition, too."""

    async def is_counted() -> bool:
        return await total(town, "kizashi_consumer_stopped_partitions", topic="telemetry", cause="lost") == 1

    await eventually(is_counted, what="one partition of one process is counted as stopped")
    found = await total(town, "kizashi_consumer_position_lost_total")
    assert 1 <= found <= len(READERS), "once by each process that owns it, and not with every look"
    async with httpx.AsyncClient(timeout=10, headers={"authorization": f"Bearer {keys.api_key}"}) as http:
        for reader in READERS:
            shown = (await http.get(f"{town.url(reader)}/v1/log")).raise_for_status().json()["partitions"]
            [stopped] = [one for one in shown if one["stopped"]]
            assert (stopped["topic"], stopped["partition"]) == place
            assert stopped["stopped"]["cause"] == "lost"
            assert stopped["stopped"]["way_out"] in sentence


async def total(town: Town, metric: str, **labels: str) -> float:
    """Of the processes of health together."""
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    async with httpx.AsyncClient(timeout=10) as http:
        pages = [(await http.get(f"{town.url(reader)}/metrics")).raise_for_status().text for reader in READERS]
    return sum(
        float(line.rpartition(" ")[2])
        for page in pages
        for line in page.splitlines()
        if line.startswith(f"{metric}{{") and all(one in line for one in wanted)
    )
