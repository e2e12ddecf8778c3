"""News while a wave goes over the accounts: a backfill of history, as fast as its quota lets it in, and midnight, when
every account is due.

The same light load with tickets, alone and during each wave: from the answer 200 to the commit of the lower
score. Midnight is made harder than it is: accounts are spread over the hour that follows it, and that hour passes at
once, by the file that declares domain time to a test.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from time import monotonic

from bench.figures import Measured, NotMeasured
from bench.history import import_history, used, write_history
from bench.installation import Installation, installation
from bench.past import copy_account
from bench.percentiles import latencies
from bench.progress import tell
from bench.sizes import Size
from bench.stage import stage
from bench.traffic import Product, account_ids, product
from libs.common.clock import Declaration, DeclaredClock, wall_now
from services.health.domain.next_moment import SPREAD

EVENTS_PER_S = 100
TICKETS_PER_S = 5
ACCOUNTS_PER_TICKET = 4
"""As many for each ticket of one time; each has one at most, and there are three times."""
PATTERN_EVENTS = 20
"""In the history of the account that all those are copies of which midnight finds."""
MILLION = 1_000_000
MILLION_SECONDS = 120
"""Of its backfill in which there are news."""
LOOK_SECONDS = 0.25
TICKETS_AT_LEAST = 10
"""Accepted during a wave; a percentile of fewer says nothing."""
READY_SECONDS = 600.0
LOWERED_SECONDS = 120.0
NAMES = ("live_accepted_to_scored", "live_answer")


@dataclass
class Scene:
    """``clock_file`` declares domain time; ``untold`` are accounts that have had no ticket yet."""

    here: Installation
    customer: Product
    clock_file: Path
    midnight: datetime
    seconds: float
    untold: list[str] = field(default_factory=list)

    @property
    def clock(self) -> DeclaredClock:
        return DeclaredClock(self.clock_file)

    async def news(self) -> dict[datetime, timedelta]:
        """How long each ticket took to its score, under light load, by the moment at which it was accepted."""
        tickets = round(self.seconds * TICKETS_PER_S)
        accounts, self.untold = self.untold[:tickets], self.untold[tickets:]
        async with asyncio.TaskGroup() as group:
            group.create_task(self.customer.work(EVENTS_PER_S, self.seconds))
            group.create_task(self.customer.open_tickets(accounts, "high", TICKETS_PER_S))
        deadline = monotonic() + LOWERED_SECONDS
        while missing := set(accounts) - (lowered := await self.here.lowered_at()).keys():
            if monotonic() > deadline:
                raise NotMeasured(f"{len(missing)} of {tickets} tickets have lowered no score")
            await asyncio.sleep(LOOK_SECONDS)
        accepted = self.customer.ticketed
        return {accepted[account]: lowered[account] - accepted[account] for account in accounts}

    async def alone(self) -> News:
        self.customer.answered.clear()
        return News(list((await self.news()).values()), [long for _, long in self.customer.answered])

    async def news_while(self, goes_on: Callable[[], Awaitable[bool]]) -> News:
        """The same of what was accepted before the wave was over. Raises NotMeasured when those are too few."""
        self.customer.answered.clear()
        async with _watched(goes_on) as wave:
            took = await self.news()
        during = [long for accepted_at, long in took.items() if accepted_at <= wave.seen_at]
        if len(during) < TICKETS_AT_LEAST:
            raise NotMeasured(f"The wave was over after {len(during)} tickets: too small for this machine.")
        return News(during, [long for at, long in self.customer.answered if at <= wave.seen_at])


@dataclass(frozen=True)
class News:
    """How long each ticket took to its score, and each request of the live load to its answer."""

    scored: list[timedelta]
    answered: list[timedelta]


@dataclass
class _Wave:
    """``seen_at``: when it was last seen to go on."""

    seen_at: datetime


@asynccontextmanager
async def _watched(goes_on: Callable[[], Awaitable[bool]]) -> AsyncIterator[_Wave]:
    wave = _Wave(wall_now())

    async def watch() -> None:
        while await goes_on():
            wave.seen_at = wall_now()
            await asyncio.sleep(LOOK_SECONDS)

    watching = asyncio.create_task(watch(), name="watch the wave")
    try:
        yield wave
        if watching.done():
            watching.result()
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def run(stage_engine: str, size: Size) -> Measured:
    async with _scene(stage_engine, size.wave_seconds) as scene:
        history = await _history(scene, size.backfill_events)
        alone = await scene.alone()
        in_backfill = await _during_a_backfill(scene, history)
        at_midnight, scored_per_s = await _during_midnight(scene, size.wave_accounts)
    return {
        **_latencies("", alone),
        **_during("backfill", in_backfill, alone),
        **_during("midnight", at_midnight, alone),
        "midnight_scored_accounts_per_s": scored_per_s,
    }


async def run_million(stage_engine: str, _size: Size) -> Measured:
    """A backfill that takes a while. Alone is before it and after it, since a machine is not the same a few minutes
    later."""
    async with _scene(stage_engine, MILLION_SECONDS) as scene:
        history = await _history(scene, MILLION)
        before = await scene.alone()
        in_backfill = await _during_a_backfill(scene, history)
        after = await scene.alone()
    alone = News([*before.scored, *after.scored], [*before.answered, *after.answered])
    return {**_latencies("", alone), **_during("backfill", in_backfill, alone)}


@asynccontextmanager
async def _scene(stage_engine: str, seconds: float) -> AsyncIterator[Scene]:
    """Half an hour before midnight, with every account scored."""
    async with stage(stage_engine, commit_times=True) as at:
        clock_file = at.folder / "domain-clock.json"
        midnight = datetime.combine(wall_now().date() - timedelta(days=1), time(), UTC)
        _let_it_be(clock_file, midnight - SPREAD / 2)
        accounts = account_ids(round(ACCOUNTS_PER_TICKET * seconds * TICKETS_PER_S))
        async with (
            installation(at, clock_file) as here,
            product(here.url("ingest"), at.keys.write_key, accounts, DeclaredClock(clock_file)) as live,
        ):
            await live.introduce()
            await here.until_scored(live.accepted, READY_SECONDS)
            yield Scene(here, live, clock_file, midnight, seconds, list(accounts))


def _during(wave: str, news: News, alone: News) -> Measured:
    found = _latencies(f"_during_{wave}", news)
    usual = _latencies("", alone)
    ratios = {
        f"{name}_during_{wave}_p99_over_alone": found[f"{name}_during_{wave}_p99_ms"] / usual[f"{name}_p99_ms"]
        for name in NAMES
    }
    return {**found, **ratios}


def _latencies(when: str, news: News) -> Measured:
    scored, answered = NAMES
    return {**latencies(f"{scored}{when}", news.scored), **latencies(f"{answered}{when}", news.answered)}


def _let_it_be(clock_file: Path, moment: datetime) -> None:
    """Domain time is ``moment`` now, and goes on as real time does."""
    Declaration(wall_anchor=wall_now(), domain_anchor=moment, rate=1).write(clock_file)


# --- the backfill ---


@dataclass(frozen=True)
class _History:
    file: Path
    events: int


async def _history(scene: Scene, events: int) -> _History:
    """To be made before there is any load: a product does not stop for its backfill to begin."""
    file = scene.here.stage.folder / "history.jsonl"
    await asyncio.to_thread(write_history, file, scene.customer, events)
    return _History(file, events)


async def _during_a_backfill(scene: Scene, history: _History) -> News:
    tell(f"news during a backfill of {history.events} events")
    here = scene.here
    importing = asyncio.create_task(import_history(here.stage, here.url("ingest"), history.file), name="import")

    async def goes_on() -> bool:
        return not importing.done() or bool(
            await scene.here.ask(
                "SELECT EXISTS (SELECT FROM health.request WHERE lane = 'import') "
                "OR EXISTS (SELECT FROM health.dirty WHERE lane = 'import')"
            )
        )

    try:
        took = await scene.news_while(goes_on)
        await importing
    finally:
        importing.cancel()
    scene.customer.accepted += history.events
    await here.until_scored(scene.customer.accepted, READY_SECONDS)
    await _check_that_nobody_was_told(scene)
    return took


async def _check_that_nobody_was_told(scene: Scene) -> None:
    """Raises NotMeasured when history has touched or alerted anybody."""
    for table in ("playbook.touch", "notify.delivery"):
        if told := await scene.here.ask(f"SELECT count(*) FROM {table} WHERE account_id LIKE 'past-%'"):
            raise NotMeasured(f"The backfill raised {told} rows of {table}; history raises nothing.")


# --- midnight ---


async def _during_midnight(scene: Scene, accounts: int) -> tuple[News, float]:
    """The latencies, and how many accounts were scored a second meanwhile."""
    here, customer = scene.here, scene.customer
    luck, pattern = random.Random(4), "pattern"  # noqa: S311 - no secret
    past = [used(customer, pattern, luck, scene.clock.now()) for _ in range(PATTERN_EVENTS)]
    await customer.post("/v1/import", {"batch": past}, len(past))
    await here.until_scored(customer.accepted, READY_SECONDS)
    await copy_account(here.owner, here.stage.keys.workspace, pattern, [f"copy-{n:05d}" for n in range(accounts)])
    tell(f"news during the midnight of {accounts} accounts")

    async def due() -> int:
        now = scene.clock.now()
        return int(await here.ask("SELECT count(*) FROM health.schedule WHERE due_at <= $1", now) or 0)

    async def goes_on() -> bool:
        return await due() > 0

    _let_it_be(scene.clock_file, scene.midnight + SPREAD)
    began, due_before = monotonic(), await due()
    if due_before < accounts:
        raise NotMeasured(f"{due_before} accounts are due at midnight of {accounts}")
    took = await scene.news_while(goes_on)
    scored = due_before - await due()
    return took, scored / (monotonic() - began)
