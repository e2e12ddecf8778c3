"""Positions that belong to a log that is gone begin anew in the one that is there, on purpose and in no other case."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from cli.__main__ import main
from libs.common.database_urls import OWNER_URL
from libs.common.errors import NotStarted
from libs.common.event_log_kafka.access import KafkaAccess
from libs.common.event_log_postgres.session import ROLE
from libs.common.log_move.adopt import LogAdoption
from libs.common.log_move.open import origin
from libs.common.ownership import LockSession
from libs.common.topics import PARTITIONS, Topic
from tests.conftest import TestDatabase
from tests.integration.common.conftest import World, world
from tests.integration.common.tally import publish, tally, telemetry

__all__ = ["world"]

READERS = {Topic.TELEMETRY: "tally"}
RECORDS = 20


class Adoption:
    """``said`` are the lines for the operator."""

    def __init__(self, owner_url: str) -> None:
        self.said: list[str] = []
        self._adoption = LogAdoption(
            owner_url, lambda: origin(owner_url, owner_url, KafkaAccess()), tell=self.said.append, readers=READERS
        )

    async def describe(self) -> bool:
        return await self._adoption.describe()

    async def run(self) -> None:
        await self._adoption.run()


@pytest.fixture
async def adoption(world: World, database: TestDatabase) -> Adoption:
    """All but the last of the records were read, as those of another log."""
    await publish(world.log, [telemetry(n) for n in range(RECORDS)], 4)
    await world.run_until_caught_up(tally(world.log, world.worker))
    await world.owner.execute("UPDATE tally.consumer_position SET log_identity = 'gone', next = 99, lost = 'why'")
    await publish(world.log, [telemetry(RECORDS)], 4)
    return Adoption(database.owner_url)


async def test_positions_begin_anew_and_what_had_its_effect_has_no_other(world: World, adoption: Adoption) -> None:
    assert await adoption.describe()
    [line] = adoption.said
    assert line.startswith(f"tally has read telemetry of the log gone, in {PARTITIONS} partitions.")
    assert f"the earliest of the {RECORDS + 1} records" in line
    await adoption.run()
    assert await world.position(4) == 0
    await world.run_until_caught_up(tally(world.log, world.worker))
    assert await world.times() == {f"message-{n}": 1 for n in range(RECORDS + 1)}
    moves = await world.owner.fetch("SELECT moved_from, moved_to, moved_by FROM tally.position_move")
    assert [tuple(move) for move in moves] == [(99, 0, "kizashi log adopt")] * PARTITIONS


async def test_positions_of_the_log_that_is_there_stay_where_they_are(world: World, adoption: Adoption) -> None:
    await adoption.run()
    await world.run_until_caught_up(tally(world.log, world.worker))
    assert not await adoption.describe()
    assert "there is nothing to adopt" in adoption.said[-1]
    await adoption.run()
    assert await world.position(4) == RECORDS + 1


async def test_nothing_is_adopted_under_a_reader_for_whom_the_old_log_is_there(
    world: World, adoption: Adoption
) -> None:
    locks = LockSession(world.url, "tally log owner", ROLE)  # as a process has it that owns partitions
    await locks.open()
    with pytest.raises(NotStarted, match="is still there for tally log owner"):
        await adoption.run()
    await locks.close()
    assert await world.position(4) == 99


async def test_a_log_that_was_moved_away_is_not_adopted(world: World, adoption: Adoption) -> None:
    await world.owner.execute("UPDATE log.identity SET moved_to = 'kafka://elsewhere:9092'")
    with pytest.raises(NotStarted, match="was moved away"):
        await adoption.run()


async def test_nothing_is_adopted_while_a_move_is_under_way(world: World, adoption: Adoption) -> None:
    await world.owner.execute("INSERT INTO log.move (origin, destination) VALUES ('here', 'there')")
    with pytest.raises(NotStarted, match="A move of the log is under way"):
        await adoption.run()
    assert await world.position(4) == 99


def test_the_command(database: TestDatabase) -> None:
    """Of an installation that has read nothing yet; the faults' town adopts a topic that was made again."""
    environment = {OWNER_URL: database.owner_url, "KIZASHI_LOG_URL": None}
    answer = CliRunner().invoke(main, ["log", "adopt"], env=environment)
    assert answer.exit_code == 1
    assert "KIZASHI_LOG_URL is not set: name the log to go on with" in answer.output
    answer = CliRunner().invoke(main, ["log", "adopt"], env={**environment, "KIZASHI_LOG_URL": database.url})
    assert answer.exit_code == 0, answer.output
    assert answer.output.startswith("Every position belongs to the log at ")
