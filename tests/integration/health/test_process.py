"""The real process on the real log: killed at every named point, run twice, stopped well; a mistake is one sentence."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from libs.common.clock import Declaration, wall_now
from libs.common.event_log import EventLog, Record, TopicPartition
from libs.common.event_log_open import event_log
from libs.common.events import AccountChanged, AccountEvent, AccountFinding, AccountWentSilent, Event, decode, encode
from libs.common.testing import eventually
from libs.common.topics import Topic
from tests.conftest import TestDatabase
from tests.integration.health.world import CONFIG, DAY, HOUR, MONDAY, World, key_for, world

ROOT = Path(__file__).parents[3]


@dataclass
class Town:
    """Ingest, playbook and the domain clock as health's processes see them."""

    here: World
    log: EventLog
    clock_file: Path
    port: int
    headers: dict[str, str]
    published: int = 0
    children: list[asyncio.subprocess.Process] = field(default_factory=list)
    read: dict[str, AccountEvent] = field(default_factory=dict)

    def set_clock(self, moment: datetime) -> None:
        """Domain time stands still at ``moment``."""
        self.here.clock.at = moment
        Declaration(wall_anchor=wall_now(), domain_anchor=moment, rate=0).write(self.clock_file)

    async def start(self, failpoints: str = "", **environment: str) -> asyncio.subprocess.Process:
        own = {name: value for name, value in os.environ.items() if not name.startswith("KIZASHI_")}
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.health",
            cwd=ROOT,
            env=own
            | {
                "KIZASHI_DATABASE_URL": self.here.database.url,
                "KIZASHI_HEALTH_PORT": str(self.port),
                "KIZASHI_ENVIRONMENT": "test",
                "KIZASHI_DOMAIN_CLOCK_FILE": str(self.clock_file),
                "KIZASHI_FAILPOINTS": failpoints,
            }
            | environment,
            stderr=asyncio.subprocess.PIPE,
        )
        self.children.append(child)
        return child

    async def publish(self, events: Sequence[Event]) -> None:
        by_topic: dict[Topic, list[Event]] = {}
        for event in events:
            by_topic.setdefault(event.destination, []).append(event)
        for topic, of_topic in by_topic.items():
            await self.log.append(topic, [Record(event.key, encode(event)) for event in of_topic])
        self.published += len(events)

    async def go_live(self) -> None:
        for mark in self.here.marks():
            await self.log.append(mark.in_topic, [Record(mark.key, encode(mark))], mark.in_partition)

    async def keep_reading(self) -> None:
        async def from_the_beginning(_: TopicPartition) -> int:
            return 0

        async with self.log.subscribe("playbook", [Topic.HEALTH], from_the_beginning) as subscription:
            while True:
                if batch := await subscription.next_batch(100, 0.05):
                    for event in (decode(record.value) for record in batch.records):
                        assert isinstance(event, AccountEvent)
                        assert self.read.setdefault(event.id, event) == event, "an id means one thing"

    async def ask(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", headers=self.headers) as http:
            return await http.get(path)

    async def until_settled(self) -> None:
        """Everything published is applied, routed, scored as of the clock, and told."""

        async def settled() -> bool:
            try:
                answer = await self.ask("/v1/progress")
            except httpx.TransportError:
                return False
            body = answer.json()
            (unpublished,) = await self.here.rows("SELECT count(*) AS n FROM outbox")
            return (
                body["usage_total"] == self.published
                and body["waiting"] == {"requests": 0, "dirty": 0, "due": 0}
                and body["as_of"] is not None
                and datetime.fromisoformat(body["as_of"]) == self.here.clock.at
                and unpublished["n"] == 0
            )

        await eventually(settled, within_seconds=40, what="everything is applied and scored")

    def told(self, kind: type[AccountEvent]) -> list[AccountEvent]:
        return [event for event in self.read.values() if isinstance(event, kind)]


@pytest.fixture
async def town(database: TestDatabase, tmp_path: Path) -> AsyncIterator[Town]:
    log = event_log(database.url, name="test")
    await log.open()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with world(database) as here:
        made = Town(here, log, tmp_path / "clock.json", port, await key_for(here, 1, "read"))
        made.set_clock(MONDAY)
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


def _versions_without_a_gap(town: Town) -> None:
    versions: dict[str, list[int]] = {}
    for event in town.told(AccountChanged):
        assert isinstance(event, AccountChanged)
        versions.setdefault(event.account_id, []).append(event.version)
    for account, told in versions.items():
        assert sorted(told) == list(range(1, len(told) + 1)), account


POINTS = [
    "consumer.inside_handler",
    "consumer.before_commit",
    "consumer.after_commit",
    "router.taken",
    "router.before_commit",
    "router.after_commit",
    "score_worker.claimed",
    "score_worker.before_commit",
    "score_worker.after_commit",
    "outbox.published",
]


async def test_killed_at_every_named_point_it_loses_nothing_and_doubles_nothing(town: Town) -> None:
    start = MONDAY - 80 * DAY
    await town.publish(town.here.routine("quiet", ["quiet-0"], start, days=80, historical=True))
    await town.go_live()
    assert await _ended(await town.start("router.switched")) == -signal.SIGKILL
    for n, point in enumerate(POINTS):
        # Each account begins before one death and ends after another.
        people = [f"user{n}", f"user{n - 1}"]
        await town.publish(town.here.routine(f"account{n}", people, start, days=80, historical=n % 2 == 0))
        assert await _ended(await town.start(point)) == -signal.SIGKILL, point
    last = await town.start()
    await town.until_settled()
    for n, _ in enumerate(POINTS):
        users = (await town.ask(f"/v1/accounts/account{n}/usage")).json()["total"]
        rows = await town.here.rows("SELECT sum(n)::int AS n FROM account_usage WHERE account_id = $1", f"account{n}")
        assert users == rows[0]["n"] > 0
    (applied,) = await town.here.rows("SELECT sum(n)::int AS n FROM account_day")
    assert applied["n"] == town.published
    _versions_without_a_gap(town)
    assert town.told(AccountFinding) == []
    assert (await town.ask("/readyz")).json() == {"ready": True, "problems": []}
    assert "kizashi_health_scored_accounts_total" in (await town.ask("/metrics")).text
    last.terminate()
    assert await _ended(last) == 0


async def test_ten_days_down_and_killed_while_catching_up_it_finds_the_one_silence_once(town: Town) -> None:
    accounts = ["acme", "bolt", "quiet"]
    for account in accounts:
        await town.publish(town.here.routine(account, [f"{account}-0"], MONDAY - 80 * DAY, 80, historical=True))
    await town.go_live()
    child = await town.start()
    await town.until_settled()
    child.kill()
    await _ended(child)
    # Twelve days of traffic wait on the log for everybody but one.
    town.set_clock(MONDAY + 12 * DAY)
    for account in ("acme", "bolt"):
        await town.publish(town.here.routine(account, [f"{account}-0"], MONDAY, days=12))
    for point in ("consumer.before_commit", "score_worker.before_commit", "score_worker.after_commit:2"):
        assert await _ended(await town.start(point)) == -signal.SIGKILL, point
    await town.start()
    await town.start(KIZASHI_HEALTH_PORT=str(town.port + 1))
    await town.until_settled()

    async def told() -> bool:
        return bool(town.told(AccountWentSilent))

    await eventually(told, what="the silence is told")
    assert Counter(event.account_id for event in town.told(AccountWentSilent)) == {"quiet": 1}
    assert {event.account_id for event in town.told(AccountFinding)} == {"quiet"}
    _versions_without_a_gap(town)


async def test_a_record_it_cannot_take_is_a_dead_letter_and_the_next_is_unharmed(town: Town) -> None:
    await town.start()
    here = town.here
    bad = here.track("Used", "nul\0nul", MONDAY - HOUR)
    await town.log.append(Topic.TELEMETRY, [Record(bad.key, encode(bad)), Record(bad.key, b"{")])
    await town.publish([here.group("ann", "acme", MONDAY - HOUR), here.track("Used", "ann", MONDAY - HOUR)])
    await town.until_settled()
    letters = await here.rows("SELECT reason FROM dead_letter ORDER BY reason")
    assert len(letters) == 2
    assert (await town.ask("/v1/accounts/acme/usage")).json()["total"] == 2


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("health/default.yaml", "weight: 55", "weight: 50", "the dimensions' weights add up to 95, not to 100"),
        ("segments.yaml", "at_least: 50000", "at_least: plenty", "segments.1.when.0.at_least"),
        ("calendar.yaml", "zone: UTC", "zone: Mars/Olympus", "zone: 'Mars/Olympus' is not a time zone"),
    ],
)
async def test_a_mistake_in_its_configuration_is_one_sentence(
    town: Town, tmp_path: Path, file: str, old: str, new: str, says: str
) -> None:
    (tmp_path / "health").mkdir()
    for name in ("health/default.yaml", "segments.yaml", "stages.yaml", "calendar.yaml"):
        (tmp_path / name).write_text((CONFIG / name).read_text())
    (tmp_path / file).write_text((tmp_path / file).read_text().replace(old, new, 1))
    child = await town.start(KIZASHI_CONFIG_DIR=str(tmp_path))
    _, stderr = await child.communicate()
    assert child.returncode == 2
    assert stderr.decode().startswith(f"{tmp_path / file}, line ")
    assert says in stderr.decode()
    assert len(stderr.decode().splitlines()) == 1
