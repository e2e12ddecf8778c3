"""Advisory locks on a session that proves to be alive, or loses them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.common.errors import RetryLater
from libs.common.ownership import LOST_AFTER_SECONDS, LockSession, lock_number
from libs.common.testing import eventually
from tests.conftest import TestDatabase

A, B = lock_number("a"), lock_number("b")


@asynccontextmanager
async def session(database: TestDatabase, name: str) -> AsyncIterator[LockSession]:
    made = LockSession(database.url, name)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


async def test_a_lock_has_one_owner_until_it_is_given_back(database: TestDatabase) -> None:
    async with session(database, "one") as one, session(database, "two") as two:
        assert await one.try_lock([A, B]) == {A, B}
        assert await two.try_lock([A, B]) == set()
        await one.unlock([A])
        assert await two.try_lock([A, B]) == {A}
        assert await two.holders([A, B]) == {A: {two.pid}, B: {one.pid}}


async def test_asking_again_for_a_lock_of_ours_does_not_make_it_harder_to_give_back(database: TestDatabase) -> None:
    async with session(database, "one") as one, session(database, "two") as two:
        for _ in range(3):
            assert await one.try_lock([A]) == {A}
        await one.unlock([A])
        assert await two.try_lock([A]) == {A}


async def test_locks_end_with_the_session(database: TestDatabase) -> None:
    async with session(database, "two") as two:
        async with session(database, "one") as one:
            await one.try_lock([A])
        with pytest.raises(RetryLater):
            await one.try_lock([B])

        async def free() -> bool:
            return await two.try_lock([A]) == {A}

        await eventually(free)


async def test_locks_end_too_when_a_process_freezes_in_the_middle_of_a_statement(database: TestDatabase) -> None:
    """Parsed, never executed: the server waits for the rest, and its limit for idle sessions does nothing."""
    async with session(database, "two") as two, session(database, "one") as one:
        await one.try_lock([A])
        assert one._heart is not None
        assert one._connection is not None
        one._heart.cancel()
        await one._connection.prepare("SELECT 'never asked before'")

        async def free() -> bool:
            return await two.try_lock([A]) == {A}

        await eventually(free, within_seconds=LOST_AFTER_SECONDS + 3)


async def test_everybody_who_joins_is_a_holder(database: TestDatabase) -> None:
    async with session(database, "one") as one, session(database, "two") as two:
        await one.join(A)
        await two.join(A)
        assert await one.holders([A, B]) == {A: {one.pid, two.pid}}


async def test_a_session_that_beats_lives_longer_than_the_server_would_wait(database: TestDatabase) -> None:
    async with session(database, "one") as one:
        await one.try_lock([A])
        until = time.monotonic() + LOST_AFTER_SECONDS + 0.5

        async def outlived_or_lost() -> bool:
            return time.monotonic() > until or not one.alive

        await eventually(outlived_or_lost)
        assert one.alive
        assert await one.try_lock([A]) == {A}


async def test_a_process_that_stood_still_knows_at_once_that_it_owns_nothing(database: TestDatabase) -> None:
    """Before it has read a word from the server: it must not begin a batch meanwhile."""
    async with session(database, "one") as one:
        await one.try_lock([A])
        time.sleep(LOST_AFTER_SECONDS + 0.1)  # noqa: ASYNC251 - the whole process stands still, as after SIGSTOP
        assert not one.alive
        with pytest.raises(RetryLater):
            await one.try_lock([A])
