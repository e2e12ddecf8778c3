"""Which key a request shows, and what is remembered about whose it is."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.api_keys import new_api_key
from libs.common.errors import Refused, RetryLater
from services.ingest.write_keys import (
    KeyOwner,
    WriteKeys,
    hash_of,
    new_write_key,
    shown_as_bearer,
    shown_before_the_body,
)


def basic(credentials: str) -> bytes:
    return b"Basic " + base64.b64encode(credentials.encode())


@pytest.mark.parametrize(
    ("headers", "query", "shown"),
    [
        ({b"authorization": basic("k1:")}, b"", "k1"),
        ({b"authorization": basic("k1")}, b"", "k1"),
        ({b"authorization": basic("k1:password:more")}, b"", "k1"),
        ({b"authorization": basic("k1:").rstrip(b"=")}, b"", "k1"),
        ({b"authorization": b"basic " + basic("k1:")[6:]}, b"", "k1"),
        ({b"authorization": basic("k1:"), b"x-write-key": b"k2"}, b"writeKey=k3", "k1"),
        ({b"x-write-key": b"k2"}, b"writeKey=k3", "k2"),
        ({b"x-write-key": b"k2:secret"}, b"", "k2"),
        ({b"x-write-key": b":secret"}, b"writeKey=k3", "k3"),
        ({}, b"a=b&writeKey=k3", "k3"),
        ({}, b"writekey=k%203", "k 3"),
        ({b"authorization": b"Basic !!!", b"x-write-key": b"k2"}, b"", "k2"),
        ({b"authorization": b"Basic"}, b"writeKey=k3", "k3"),
        ({b"authorization": basic(":password"), b"x-write-key": b" "}, b"writeKey=k3", "k3"),
        ({b"authorization": b"Bearer token"}, b"", None),
        ({b"authorization": b"\xff\xfe"}, b"\xff=%zz&&&", None),
        ({}, b"writeKey=", None),
    ],
)
def test_where_a_key_is_looked_for(headers: dict[bytes, bytes], query: bytes, shown: str | None) -> None:
    assert shown_before_the_body(headers, query) == shown


def test_a_bearer_token_may_be_the_key() -> None:
    assert shown_as_bearer({b"authorization": b"Bearer k1 "}) == "k1"
    assert shown_as_bearer({b"authorization": b"Bearer"}) is None
    assert shown_as_bearer({b"authorization": basic("k1")}) is None


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=40))
def test_looking_never_fails(authorization: bytes, header: bytes, query: bytes) -> None:
    for value in (authorization, b"Basic " + authorization, b"Bearer " + authorization):
        shown_before_the_body({b"authorization": value, b"x-write-key": header}, query)
        shown_as_bearer({b"authorization": value})


def test_a_key_tells_which_one_it_is_and_cannot_be_guessed_from_that() -> None:
    made = new_write_key()
    assert made.key.startswith(f"kzw_{made.key_id}_")
    assert len(made.key.removeprefix(f"kzw_{made.key_id}_")) == 32, "128 bits in hex"
    assert made.secret_hash == hash_of(made.key)


class KeyTable:
    """The look-up, as the database answers it."""

    def __init__(self) -> None:
        self.owners: dict[bytes, KeyOwner] = {}
        self.asked = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.works = True

    async def find(self, secret_hash: bytes) -> KeyOwner | None:
        self.asked += 1
        await self.answers.wait()
        if not self.works:
            raise RetryLater("the database sleeps")
        return self.owners.get(secret_hash)


@pytest.fixture
def table() -> KeyTable:
    return KeyTable()


async def test_a_known_key_is_asked_for_once(table: KeyTable) -> None:
    made = new_write_key()
    table.owners[made.secret_hash] = KeyOwner(1, 2, "k1")
    keys = WriteKeys(table.find, remember_seconds=60)
    table.answers.clear()
    asking = [asyncio.create_task(keys.owner(made.key)) for _ in range(20)]
    await asyncio.wait(asking, timeout=0.01)
    table.answers.set()
    assert {await one for one in asking} == {KeyOwner(1, 2, "k1")}
    assert await keys.owner(made.key) == KeyOwner(1, 2, "k1")
    assert table.asked == 1


@pytest.mark.parametrize("key", [None, "", "nobody's", "k" * 201, "k" * 100_000, "\ud800"])
async def test_a_missing_or_unknown_key_is_final(table: KeyTable, key: str | None) -> None:
    keys = WriteKeys(table.find, remember_seconds=60)
    for _ in range(3):
        with pytest.raises(Refused) as refusal:
            await keys.owner(key)
        assert refusal.value.status == 401
    assert table.asked <= 1


async def test_an_api_key_is_told_apart(table: KeyTable) -> None:
    with pytest.raises(Refused, match=r"This is an API key.* write key .* kzw_"):
        await WriteKeys(table.find, remember_seconds=60).owner(new_api_key().token)


async def test_a_revoked_key_stops_working_when_it_is_asked_for_again(table: KeyTable) -> None:
    table.owners[hash_of("k")] = KeyOwner(1, 2, "k1")
    keys = WriteKeys(table.find, remember_seconds=0)
    assert await keys.owner("k")
    table.owners.clear()
    with pytest.raises(Refused):
        await keys.owner("k")


async def test_nothing_that_is_remembered_outlives_the_keys_expiry(table: KeyTable) -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    ends = now + timedelta(seconds=30)
    owner = table.owners[hash_of("k")] = KeyOwner(1, 2, "k1", expires_at=ends)
    keys = WriteKeys(table.find, remember_seconds=60, now=lambda: now)
    assert (await keys.owner("k"), await keys.owner("k"), table.asked) == (owner, owner, 1)
    now = ends - timedelta(milliseconds=1)
    assert (await keys.owner("k"), table.asked) == (owner, 1)
    now = ends
    table.works = False
    with pytest.raises(RetryLater):
        await keys.owner("k")
    table.works = True
    table.owners.clear()
    with pytest.raises(Refused):
        await keys.owner("k")


async def test_an_expiry_that_was_moved_is_noticed(table: KeyTable) -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    table.owners[hash_of("k")] = KeyOwner(1, 2, "k1", expires_at=now + timedelta(seconds=1))
    keys = WriteKeys(table.find, remember_seconds=60, now=lambda: now)
    await keys.owner("k")
    later = table.owners[hash_of("k")] = KeyOwner(1, 2, "k1", expires_at=now + timedelta(days=1))
    now += timedelta(seconds=2)
    assert (await keys.owner("k"), await keys.owner("k"), table.asked) == (later, later, 2)


async def test_a_known_key_outlives_a_sleeping_database(table: KeyTable) -> None:
    table.owners[hash_of("k")] = KeyOwner(1, 2, "k1")
    keys = WriteKeys(table.find, remember_seconds=0)
    await keys.owner("k")
    table.works = False
    assert await keys.owner("k") == KeyOwner(1, 2, "k1")
    with pytest.raises(RetryLater):
        await keys.owner("another")


async def test_a_database_that_hangs_is_waited_for_within_a_deadline(
    table: KeyTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingest.write_keys.LOOK_UP_SECONDS", 0.05)
    table.answers.clear()
    with pytest.raises(RetryLater):
        await WriteKeys(table.find, remember_seconds=60).owner("k")


async def test_made_up_keys_do_not_fill_the_memory(table: KeyTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingest.write_keys.REMEMBERED", 100)
    keys = WriteKeys(table.find, remember_seconds=60)
    for number in range(300):
        with pytest.raises(Refused):
            await keys.owner(f"made up {number}")
    assert len(keys._remembered) == 100
