"""A playbook that was edited keeps its version's meaning, or the process does not start."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from libs.common.db import Database
from libs.common.errors import NotStarted
from services.playbook.definitions import load_catalogue
from services.playbook.versions import remember_versions
from tests.integration.playbook.conftest import House
from tests.unit.playbook.examples import copy_config, edit


@pytest.fixture
def config(tmp_path: Path) -> Path:
    copy_config(tmp_path)
    return tmp_path


async def _start(database: Database, config: Path) -> None:
    await remember_versions(database, config, load_catalogue(config))


async def test_an_edit_under_the_same_version_is_refused_with_file_and_line(house: House, config: Path) -> None:
    path = config / "playbooks" / "usage-decline.yaml"
    await _start(house.database, config)
    edit(path, "wait_days: 14", "wait_days: 7")
    edit(path, "goal: [green_again]", "goal: []")
    with pytest.raises(NotStarted) as raised:
        await _start(house.database, config)
    line = path.read_text().split("version:")[0].count("\n") + 1
    assert str(raised.value) == (
        f"{path}, line {line}: version: 1 has been in use with other goal, steps; raise it to 2, or undo the edit"
    )
    edit(path, "version: 1", "version: 2")
    await _start(house.database, config)


async def test_a_version_that_was_passed_is_not_used_for_something_else(house: House, config: Path) -> None:
    path = config / "playbooks" / "usage-decline.yaml"
    original = path.read_text()
    await _start(house.database, config)
    edit(path, "version: 1", "version: 7")
    edit(path, "cool_down_days: 30", "cool_down_days: 60")
    await _start(house.database, config)
    path.write_text(original)
    await _start(house.database, config)
    edit(path, "cool_down_days: 30", "cool_down_days: 60")
    with pytest.raises(NotStarted, match="other cool_down_days; raise it to 8, or undo the edit"):
        await _start(house.database, config)


async def test_what_is_said_to_people_in_the_file_is_no_edit(house: House, config: Path) -> None:
    path = config / "playbooks" / "usage-decline.yaml"
    await _start(house.database, config)
    path.write_text("# Another comment.\n" + path.read_text().replace("freshness_days: 14 ", "freshness_days:   14"))
    edit(path, "goal: [green_again]", "goal:\n  - green_again")
    await _start(house.database, config)


async def test_what_was_refused_is_not_remembered(house: House, config: Path) -> None:
    await _start(house.database, config)
    edit(config / "playbooks" / "account-silent.yaml", "version: 1", "version: 2")
    edit(config / "playbooks" / "usage-decline.yaml", "wait_days: 14", "wait_days: 7")
    with pytest.raises(NotStarted):
        await _start(house.database, config)
    rows = await house.owner.fetch("SELECT name, version FROM playbook.known_definition ORDER BY name")
    assert [tuple(row) for row in rows] == [("account-silent", 1), ("usage-decline", 1)]


async def test_processes_that_start_together_agree(house: House, config: Path) -> None:
    await asyncio.gather(*[_start(house.database, config) for _ in range(4)])
    await _start(house.database, config)


async def test_what_is_remembered_cannot_be_changed(house: House, config: Path) -> None:
    await _start(house.database, config)
    with pytest.raises(Exception, match="permission denied"):
        async with house.database.transaction() as connection:
            await connection.exec_driver_sql("UPDATE known_definition SET version = 2")
