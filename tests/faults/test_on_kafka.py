"""Every fault, with the event log on Kafka, and what only a broker of its own can suffer."""

import pytest

from tests.faults.conftest import Tell
from tests.faults.every_fault import GREEN_WITHIN_SECONDS, EveryFault, assert_all_is_well, stands_still_and_goes_on
from tests.faults.running import under_load
from tests.faults.schedule import Engine, KillBroker
from tests.faults.town import Town

ENGINE = Engine.KAFKA
pytestmark = pytest.mark.asyncio(loop_scope="module")


class TestOnKafka(EveryFault):
    async def test_the_broker_killed_and_started(self, town: Town, tell: Tell) -> None:
        async with under_load(town) as run:
            await run.strike(KillBroker(at=0, seconds=3))
            await town.until_ready(GREEN_WITHIN_SECONDS)
        assert_all_is_well(run, tell, "broker killed, started after 3 s")

    async def test_the_broker_stands_still_and_goes_on(self, town: Town, tell: Tell) -> None:
        assert town.broker is not None
        await stands_still_and_goes_on(town, tell, town.broker, "broker")
