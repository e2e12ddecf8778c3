"""Every fault, with the event log on Kafka, and what only a broker of its own can suffer."""

from time import monotonic

import pytest

from deploy.local.supervisor import said_last
from libs.common.topics import PARTITIONS, Topic
from tests.faults.conftest import Tell
from tests.faults.every_fault import GREEN_WITHIN_SECONDS, EveryFault, assert_all_is_well, stands_still_and_goes_on
from tests.faults.processes import CANNOT_START, Supervised
from tests.faults.running import under_load
from tests.faults.schedule import Engine, KillBroker
from tests.faults.topics_on_kafka import make_again
from tests.faults.town import Town

ENGINE = Engine.KAFKA
pytestmark = pytest.mark.asyncio(loop_scope="module")


class TestOnKafka(EveryFault):
    async def test_the_broker_killed_and_started(self, town: Town, tell: Tell) -> None:
        async with under_load(town) as run:
            since = monotonic()
            await run.strike(KillBroker(at=0, seconds=3))
            await town.until_ready(GREEN_WITHIN_SECONDS)
        assert_all_is_well(run, tell, "broker killed, started after 3 s")
        assert town.unplanned_starts(since) == {}, "nobody dies of it"

    async def test_the_broker_stands_still_and_goes_on(self, town: Town, tell: Tell) -> None:
        assert town.broker is not None
        await stands_still_and_goes_on(town, tell, town.broker, "broker")


class TestAnotherTopicInItsPlace:
    """Last of all, since the town is of no use afterwards: health has read a topic that is gone."""

    async def test_a_topic_that_was_made_again_is_not_read_on(self, town: Town) -> None:
        name = await made_anew(town, PARTITIONS)
        sentence = await refuses_to_start(town.processes["health-0"])
        assert sentence.startswith("health has read telemetry/"), sentence
        assert sentence.endswith("connect the old log again, or go on with this one: kizashi log adopt."), sentence
        assert name == "kizashi.telemetry"

    async def test_a_topic_with_other_partitions_is_refused(self, town: Town) -> None:
        name = await made_anew(town, PARTITIONS // 2)
        for service in ("ingest", "notify"):
            sentence = await refuses_to_start(town.processes[f"{service}-0"])
            assert sentence == (
                f"Kafka's topic {name} has 6 partitions where this release needs 12, and a key must not change its "
                "partition; delete the topic and make it with: kizashi log create."
            )


async def made_anew(town: Town, partitions: int) -> str:
    """Every process is stopped, and the topic of telemetry is another one of the same name, which is the answer."""
    for process in town.processes.values():
        if process.runs:
            await process.stop()
    return await make_again(town, Topic.TELEMETRY, partitions)


async def refuses_to_start(process: Supervised) -> str:
    """With the exit status that says so; the answer is the sentence."""
    ended = len(process.exits)
    await process.start()
    assert await process.until_exits(ended + 1, within_seconds=60) == CANNOT_START
    return said_last(process.log)
