"""At which pace history goes on, in a time of its own: how even it is, and how long anything waits."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count, pairwise

import pytest

from services.ingest.pace import PIECE_EVENTS, SLOTS_PER_S, SLOWEST_EVENTS_PER_S, Pace
from services.ingest.quotas import OverQuota, Quotas
from services.ingest.write_keys import KeyOwner

SLOT = 1 / SLOTS_PER_S
BATCH = 500
DEADLINE = 2.0
"""For waiting; the log has three more seconds."""
LARGEST_BATCH = 10_000
"""That an installation may allow."""


class Time:
    """Goes on to the next moment that somebody waits for, once nobody does anything else."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._waiting: list[tuple[float, int, asyncio.Event]] = []
        self._numbers = count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        come = asyncio.Event()
        heapq.heappush(self._waiting, (self.now + seconds, next(self._numbers), come))
        await come.wait()

    async def go_on(self) -> None:
        while True:
            for _ in range(20):
                await asyncio.sleep(0)
            if self._waiting:
                self.now, _, come = heapq.heappop(self._waiting)
                come.set()

    def pace(self, events_per_s: int, *, must_hurry: bool = False) -> Pace:
        return Pace(events_per_s, lambda: must_hurry, self, self.sleep)

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        passing = asyncio.create_task(self.go_on())
        try:
            yield
        finally:
            passing.cancel()


class Sent:
    """The pieces, each with when it was sent; sending one takes ``seconds``."""

    def __init__(self, time: Time, seconds: float = 0.0) -> None:
        self.pieces: list[tuple[float, Sequence[int]]] = []
        self._time = time
        self._seconds = seconds

    async def __call__(self, some: Sequence[int]) -> None:
        self.pieces.append((self._time.now, some))
        if self._seconds:
            await self._time.sleep(self._seconds)

    def most_at_once(self) -> int:
        """Events."""
        at_once = Counter[float]()
        for at, some in self.pieces:
            at_once[round(at, 6)] += len(some)
        return max(at_once.values())


@pytest.fixture
def time() -> Time:
    return Time()


async def test_the_pieces_of_a_request_are_all_of_it_in_its_order(time: Time) -> None:
    events = list(range(BATCH + 1))
    for quota in (0, 1, 2000, 50_000):
        sent = Sent(time)
        async with time.passing():
            await time.pace(quota).send(events, DEADLINE, sent)
        assert [one for _, some in sent.pieces for one in some] == events
        assert max(len(some) for _, some in sent.pieces) == PIECE_EVENTS


async def test_requests_of_one_key_go_one_after_another_at_the_pace_of_its_quota(time: Time) -> None:
    pace, sent, began = time.pace(2000), Sent(time), time.now
    async with time.passing():
        await asyncio.gather(*(pace.send([name] * 2 * PIECE_EVENTS, DEADLINE, sent) for name in range(3)))
    moments = [at for at, _ in sent.pieces]
    assert moments[0] == began  # who is alone does not wait
    assert [later - earlier for earlier, later in pairwise(moments)] == pytest.approx([SLOT] * 5)
    assert [some[0] for _, some in sent.pieces] == [0, 0, 1, 1, 2, 2]


async def test_small_requests_go_together(time: Time) -> None:
    pace, sent = time.pace(2000), Sent(time)
    async with time.passing():
        await asyncio.gather(*(pace.send([n], DEADLINE, sent) for n in range(5 * PIECE_EVENTS)))
    assert len({at for at, _ in sent.pieces}) == 5
    assert sent.most_at_once() <= PIECE_EVENTS + 1


async def test_a_small_quota_makes_a_batch_no_slower(time: Time) -> None:
    began = time.now
    async with time.passing():
        await time.pace(1).send(list(range(BATCH)), DEADLINE, Sent(time))
    assert time.now - began < BATCH / SLOWEST_EVENTS_PER_S


async def test_a_slow_log_sets_the_pace(time: Time) -> None:
    """It is not waited for twice."""
    began = time.now
    async with time.passing():
        await time.pace(2000).send(list(range(BATCH)), DEADLINE, Sent(time, seconds=0.2))
    assert time.now - began == pytest.approx(3 * 0.2)


@pytest.mark.parametrize(("quota", "must_hurry"), [(0, False), (2000, True)])
async def test_nobody_waits_without_a_quota_or_when_there_is_a_hurry(time: Time, quota: int, must_hurry: bool) -> None:
    pace, sent, began = time.pace(quota, must_hurry=must_hurry), Sent(time, seconds=0.01), time.now
    async with time.passing():
        await asyncio.gather(*(pace.send(list(range(LARGEST_BATCH)), DEADLINE, sent) for _ in range(3)))
    assert time.now - began == pytest.approx(LARGEST_BATCH / PIECE_EVENTS * 0.01)


async def test_who_waits_when_a_hurry_comes_goes_soon(time: Time) -> None:
    hurry: list[bool] = []
    pace, sent, began = Pace(2000, lambda: bool(hurry), time, time.sleep), Sent(time), time.now

    async def hurry_soon() -> None:
        await time.sleep(SLOT / 2)
        hurry.append(True)

    async with time.passing():
        await asyncio.gather(*(pace.send(range(BATCH), DEADLINE, sent) for _ in range(10)), hurry_soon())
    assert time.now - began <= 2 * SLOT


@pytest.mark.parametrize("deadline", [DEADLINE, 0.2])
@pytest.mark.parametrize("quota", [1, 2000, 50_000])
async def test_however_many_are_in_line_nobody_waits_beyond_the_deadline(
    time: Time, quota: int, deadline: float
) -> None:
    """As after an outage, when all come again whose quota was given back; else none would ever be in time."""
    pace, sent, longest = time.pace(quota), Sent(time), 0.0

    async def one(size: int) -> None:
        nonlocal longest
        began = time.now
        await pace.send(range(size), deadline, sent)
        longest = max(longest, time.now - began)

    async with time.passing():
        for _ in range(3):
            await asyncio.gather(*(one(size) for size in [1, 100, BATCH, LARGEST_BATCH] * 50))
    assert longest <= deadline + 1e-6


@pytest.mark.parametrize(("quota", "batch"), [(2000, BATCH), (2000, 20), (2000, 2500), (50_000, 2500)])
async def test_the_quota_is_reached_and_comes_evenly(time: Time, quota: int, batch: int) -> None:
    """Three seconds of whoever sends as much as gets in."""
    quotas = Quotas(0, quota, now=time, sleep=time.sleep)
    owner = KeyOwner(workspace=1, source=7, key_id="key")
    sent, until = Sent(time), time.now + 3

    async def whoever() -> None:
        while time.now < until:
            try:
                quotas.take(owner, batch, historical=True)
            except OverQuota:
                await time.sleep(0.1)
                continue
            await quotas.pace(owner).send(range(batch), DEADLINE, sent)

    async with time.passing():
        await asyncio.gather(*(whoever() for _ in range(50)))
    assert sum(len(some) for _, some in sent.pieces) >= 3 * quota
    assert sent.most_at_once() <= 2 * max(quota, batch) * SLOT


def test_keys_have_a_pace_of_their_own_and_it_follows_their_quota() -> None:
    quotas = Quotas(2000, 2000)
    one, other = (KeyOwner(workspace=1, source=7, key_id=name) for name in ("one", "other"))
    for owner in (one, other):
        quotas.take(owner, 1, historical=True)
    assert quotas.pace(one) is quotas.pace(one) is not quotas.pace(other)
    assert quotas.pace(one).events_per_s == 2000
    assert quotas.pace(replace(one, events_per_s=5)).events_per_s == 5
