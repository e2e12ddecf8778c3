"""The real process on the real log: started with a mistake, killed at every named point, stopped well."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest

from libs.common.clock import Declaration, wall_now
from libs.common.event_log import EventLog, Record, TopicPartition
from libs.common.event_log_open import event_log
from libs.common.events import Band, Channel, Event, TouchRequested, decode, encode
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.conftest import TestDatabase
from tests.integration.playbook.conftest import key_for
from tests.unit.playbook.examples import NOW, band_changed, copy_config, delivered, edit, snapshot

ROOT = Path(__file__).parents[3]


@dataclass
class Town:
    """Health, notify and the domain clock as playbook's processes see them."""

    database: TestDatabase
    owner: asyncpg.Connection
    log: EventLog
    clock_file: Path
    port: int
    children: list[asyncio.subprocess.Process] = field(default_factory=list)
    read: list[Event] = field(default_factory=list)

    def set_clock(self, moment: datetime) -> None:
        """Domain time stands still at ``moment``."""
        Declaration(wall_anchor=wall_now(), domain_anchor=moment, rate=0).write(self.clock_file)

    async def start(self, failpoints: str = "", **environment: str) -> asyncio.subprocess.Process:
        own = {name: value for name, value in os.environ.items() if not name.startswith("KIZASHI_")}
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.playbook",
            cwd=ROOT,
            env=own
            | {
                "KIZASHI_DATABASE_URL": self.database.url,
                "KIZASHI_PLAYBOOK_PORT": str(self.port),
                "KIZASHI_ENVIRONMENT": "test",
                "KIZASHI_DOMAIN_CLOCK_FILE": str(self.clock_file),
                "KIZASHI_FAILPOINTS": failpoints,
            }
            | environment,
            stderr=asyncio.subprocess.PIPE,
        )
        self.children.append(child)
        return child

    async def tell(self, *events: Event) -> None:
        for event in events:
            await self.log.append(event.destination, [Record(event.key, encode(event))])

    async def touches(self) -> list[TouchRequested]:
        """Everything asked for so far, as notify reads it: repeated ids are known by their claim."""
        return [event for event in self.read if isinstance(event, TouchRequested)]

    async def keep_reading(self) -> None:
        async def from_the_beginning(_: TopicPartition) -> int:
            return 0

        async with self.log.subscribe("notify", [Topic.TOUCHES], from_the_beginning) as subscription:
            while True:
                if batch := await subscription.next_batch(100, 0.05):
                    self.read += [decode(record.value) for record in batch.records]


@pytest.fixture
async def town(database: TestDatabase, owner: asyncpg.Connection, tmp_path: Path) -> AsyncIterator[Town]:
    log = event_log(database.url, name="test")
    await log.open()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = Town(database, owner, log, tmp_path / "clock.json", port)
    made.set_clock(NOW)
    reading = asyncio.create_task(made.keep_reading())
    yield made
    reading.cancel()
    await asyncio.wait([reading])
    for child in made.children:
        if child.returncode is None:
            child.kill()
        await child.communicate()
    await log.close()


async def _ended(child: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(30):
        await child.communicate()
    assert child.returncode is not None
    return child.returncode


POINTS = [
    "consumer.before_transaction",
    "consumer.inside_handler",
    "consumer.before_commit",
    "consumer.after_commit",
    "playbook.step.before_commit",
    "playbook.step.after_commit",
    "outbox.published",
]


async def test_killed_at_every_named_point_it_asks_for_each_touch_once(town: Town) -> None:
    for point in POINTS:
        about = {"account_id": f"killed at {point}"}
        await town.tell(snapshot(1, **about), band_changed(version=1, account_id=about["account_id"]))
        assert await _ended(await town.start(point)) == -signal.SIGKILL, point
    last = await town.start()

    async def all_told() -> bool:
        return {touch.account_id for touch in await town.touches()} == {f"killed at {point}" for point in POINTS}

    await eventually(all_told, within_seconds=30, what="a touch for every account")
    assert len({touch.id for touch in await town.touches()}) == len(POINTS)
    kinds = await town.owner.fetch("SELECT account_id, kind FROM playbook.timeline_entry ORDER BY n")
    for point in POINTS:
        assert [row["kind"] for row in kinds if row["account_id"] == f"killed at {point}"] == [
            "finding",
            "run_started",
            "touch_requested",
        ]
    last.terminate()
    assert await _ended(last) == 0


async def test_killed_between_two_steps_it_goes_on_with_the_second(town: Town) -> None:
    """Tech touch waits fourteen days of domain time and then writes; it is killed before and after both moments."""
    await town.tell(snapshot(1, segment="small_business"), band_changed(version=1))
    assert await _ended(await town.start("playbook.step.before_commit")) == -signal.SIGKILL
    assert await _ended(await town.start("playbook.step.after_commit")) == -signal.SIGKILL
    assert await town.owner.fetchval("SELECT step FROM playbook.run") == 1
    town.set_clock(NOW + timedelta(days=14))
    assert await _ended(await town.start("playbook.step.before_commit")) == -signal.SIGKILL
    assert await town.owner.fetchval("SELECT count(*) FROM playbook.touch") == 0
    assert await _ended(await town.start("playbook.step.after_commit")) == -signal.SIGKILL
    await town.start()

    async def told() -> bool:
        return bool(await town.touches())

    await eventually(told, within_seconds=30, what="the email")
    [touch] = {touch.id: touch for touch in await town.touches()}.values()
    assert (touch.channel, touch.recipient, touch.step) == (Channel.EMAIL, "ken@acme.example", 1)


async def test_two_processes_beside_each_other_tell_once_and_results_come_back(town: Town) -> None:
    await town.start()
    await town.start(KIZASHI_PLAYBOOK_PORT=str(town.port + 1))
    for n in range(12):
        about = {"account_id": f"account {n}"}
        await town.tell(snapshot(1, **about), band_changed(version=1, account_id=about["account_id"]))

    async def all_told() -> bool:
        return len({touch.account_id for touch in await town.touches()}) == 12

    await eventually(all_told, within_seconds=30, what="a touch for every account")
    assert len({touch.id for touch in await town.touches()}) == 12
    await town.tell(*[delivered(touch) for touch in await town.touches()])
    headers = await key_for(town.owner, 1)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{town.port}", headers=headers) as http:

        async def all_settled() -> bool:
            runs = (await http.get("/v1/runs", params={"state": "open"})).json()["runs"]
            return [touch["state"] for run in runs for touch in run["touches"]] == ["delivered"] * 12

        await eventually(all_settled, within_seconds=30, what="the results on the runs")
        assert (await http.get("/readyz")).json() == {"ready": True, "problems": []}
        metrics = (await http.get("/metrics")).text
        assert "kizashi_playbook_touches_total" in metrics


async def test_a_record_that_names_no_uuid_is_a_dead_letter_and_the_next_is_unharmed(town: Town) -> None:
    await town.tell(snapshot(1), band_changed(version=1))
    await town.start()

    async def told() -> bool:
        return bool(await town.touches())

    await eventually(told, within_seconds=30, what="the alert")
    [touch] = await town.touches()
    good = delivered(touch)
    bad = type(good)(**{name: getattr(good, name) for name in good.__struct_fields__} | {"id": "b", "touch_id": "none"})
    await town.tell(bad, good)

    async def settled() -> bool:
        return bool(await town.owner.fetchval("SELECT state = 'delivered' FROM playbook.touch"))

    await eventually(settled, within_seconds=30, what="the good result")
    assert await town.owner.fetchval("SELECT count(*) FROM playbook.dead_letter") == 1


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("playbooks/usage-decline.yaml", "wait_days: 14", "wait_days: two weeks", "steps.tech_touch.0.wait_days"),
        ("touch_tiers.yaml", "enterprise: high_touch", "enterprise: gold", "segments.enterprise"),
    ],
)
async def test_a_mistake_in_its_configuration_is_one_sentence(
    town: Town, tmp_path: Path, file: str, old: str, new: str, says: str
) -> None:
    copy_config(tmp_path)
    text = (tmp_path / file).read_text()
    (tmp_path / file).write_text(text.replace(old, new, 1))
    line = text[: text.index(old)].count("\n") + 1
    child = await town.start(KIZASHI_CONFIG_DIR=str(tmp_path))
    _, stderr = await child.communicate()
    assert child.returncode == 2
    assert stderr.decode().startswith(f"{tmp_path / file}, line {line}: {says}")
    assert len(stderr.decode().splitlines()) == 1


async def test_an_edit_without_a_higher_version_is_one_sentence(town: Town, tmp_path: Path) -> None:
    copy_config(tmp_path)
    await town.tell(snapshot(1), band_changed(version=1))
    first = await town.start(KIZASHI_CONFIG_DIR=str(tmp_path))

    async def told() -> bool:
        return bool(await town.touches())

    await eventually(told, within_seconds=30, what="the alert")
    first.terminate()
    assert await _ended(first) == 0
    path = tmp_path / "playbooks" / "usage-decline.yaml"
    edit(path, "wait_days: 14", "wait_days: 7")
    second = await town.start(KIZASHI_CONFIG_DIR=str(tmp_path))
    _, stderr = await second.communicate()
    assert second.returncode == 2
    assert stderr.decode().splitlines()[-1] == (
        f"{path}, line 3: version: 1 has been in use with other steps; raise it to 2, or undo the edit"
    )


async def test_recovery_before_the_message_left_takes_it_back_on_the_log(town: Town) -> None:
    await town.start()
    await town.tell(snapshot(1), band_changed(version=1))

    async def told() -> bool:
        return bool(await town.touches())

    await eventually(told, within_seconds=30, what="the alert")
    await town.tell(snapshot(2, band=Band.GREEN))

    async def taken_back() -> bool:
        return len(town.read) == 2

    await eventually(taken_back, within_seconds=30, what="the cancellation, after the request")
    request, cancellation = town.read
    assert getattr(cancellation, "touch_id", None) == request.id
