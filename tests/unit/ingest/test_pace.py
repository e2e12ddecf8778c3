"""At which pace history goes on, in a time of its own: how even it is, and how long anything waits."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count, pairwise

import pytest

from services.ingest.pace import PIECES_PER_S, SLOWEST_EVENTS_PER_S, UNPACED_EVENTS, Pace
from services.ingest.quotas import HISTORY_BURST_SECONDS, OverQuota, Quotas
from services.ingest.write_keys import KeyOwner

PIECE = SLOWEST_EVENTS_PER_S // PIECES_PER_S
BATCH = 500
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
            await Pace(quota, time, time.sleep).send(events, sent)
        assert [one for _, some in sent.pieces for one in some] == events


async def test_requests_of_one_key_take_turns_at_the_pace_of_its_quota(time: Time) -> None:
    pace, sent = Pace(2000, time, time.sleep), Sent(time)
    began = time.now
    async with time.passing():
        await asyncio.gather(*(pace.send(list(range(BATCH)), sent) for _ in range(3)))
    moments = [at for at, _ in sent.pieces]
    assert {len(some) for _, some in sent.pieces} == {PIECE}
    assert [later - earlier for earlier, later in pairwise(moments)] == pytest.approx([1 / PIECES_PER_S] * 14)
    assert moments[0] == began  # who is alone does not wait
    firsts = [at for at, some in sent.pieces if some[0] == 0]
    assert max(firsts) - min(firsts) < 0.2  # nobody waits until another is through


async def test_small_requests_go_together(time: Time) -> None:
    pace, sent = Pace(2000, time, time.sleep), Sent(time)
    async with time.passing():
        await asyncio.gather(*(pace.send([n], sent) for n in range(5 * PIECE)))
    assert len({at for at, _ in sent.pieces}) == 5
    assert sent.most_at_once() <= PIECE + 1


async def test_a_small_quota_makes_a_batch_no_slower(time: Time) -> None:
    began = time.now
    async with time.passing():
        await Pace(1, time, time.sleep).send(list(range(BATCH)), Sent(time))
    assert time.now - began < BATCH / SLOWEST_EVENTS_PER_S


async def test_a_slow_log_sets_the_pace(time: Time) -> None:
    """It is not waited for twice."""
    began = time.now
    async with time.passing():
        await Pace(2000, time, time.sleep).send(list(range(BATCH)), Sent(time, seconds=0.2))
    assert time.now - began == pytest.approx(5 * 0.2)


async def test_without_a_quota_the_log_alone_is_waited_for(time: Time) -> None:
    sent = Sent(time, seconds=0.01)
    began = time.now
    async with time.passing():
        await asyncio.gather(*(Pace(0, time, time.sleep).send(list(range(LARGEST_BATCH)), sent) for _ in range(3)))
    assert max(len(some) for _, some in sent.pieces) == UNPACED_EVENTS
    assert time.now - began == pytest.approx(LARGEST_BATCH / UNPACED_EVENTS * 0.01)


@pytest.mark.parametrize(("quota", "batch"), [(1, 1), (1, LARGEST_BATCH), (2000, BATCH), (2000, 20), (50_000, 2500)])
async def test_nothing_that_is_let_in_waits_longer_than_two_seconds(time: Time, quota: int, batch: int) -> None:
    """Three seconds of whoever sends as much as gets in, fifty requests at a time; the log has five for each."""
    quotas, owner = Quotas(0, quota, time, time.sleep), KeyOwner(workspace=1, source=7, key_id="key")
    sent, longest, until = Sent(time), 0.0, time.now + 3

    async def whoever() -> None:
        nonlocal longest
        while time.now < until:
            try:
                quotas.take(owner, batch, historical=True)
            except OverQuota:
                await time.sleep(0.1)
                continue
            began = time.now
            await quotas.pace(owner).send(range(batch), sent)
            longest = max(longest, time.now - began)

    async with time.passing():
        await asyncio.gather(*(whoever() for _ in range(50)))
    assert longest <= HISTORY_BURST_SECONDS + 1
    assert sent.most_at_once() <= 2 * max(quota, batch, SLOWEST_EVENTS_PER_S) / PIECES_PER_S
    assert sum(len(some) for _, some in sent.pieces) >= max(3 * quota, batch)  # and the quota is reached


def test_keys_have_a_pace_of_their_own_and_live_events_have_none() -> None:
    quotas = Quotas(2000, 2000)
    one, other = (KeyOwner(workspace=1, source=7, key_id=name) for name in ("one", "other"))
    for owner in (one, other):
        quotas.take(owner, 1, historical=True)
    assert quotas.pace(one) is quotas.pace(one) is not quotas.pace(other)
    assert quotas.pace(one).events_per_s == 2000
