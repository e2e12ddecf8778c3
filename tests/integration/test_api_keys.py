"""Who an API key makes the caller, and what is said to those whom none makes anybody."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from libs.common.api_keys import NewApiKey, Scope, authenticate, new_api_key
from libs.common.db import Database
from libs.common.errors import Refused
from tests.conftest import TestDatabase


@pytest.fixture
async def api(database: TestDatabase) -> AsyncIterator[Database]:
    opened = Database(database.url, role="kizashi_health_api", schema="health")
    yield opened
    await opened.close()


@pytest.fixture
async def key(database: TestDatabase) -> NewApiKey:
    made = new_api_key()
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(
        "INSERT INTO access.api_key (public_id, workspace_id, name, secret_hash, scopes) "
        "VALUES ($1, 2, 'test', $2, '{read,admin,newer}')",
        made.public_id,
        made.secret_hash,
    )
    await owner.close()
    return made


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
async def test_a_key_names_its_workspace_and_scopes(api: Database, key: NewApiKey, scheme: str) -> None:
    principal = await authenticate(api, f"{scheme} {key.token}")
    assert (principal.workspace, principal.key_id) == (2, key.public_id)
    assert principal.scopes == {Scope.READ, Scope.ADMIN}


async def _refusal(api: Database, authorization: str | None) -> Refused:
    with pytest.raises(Refused) as refusal:
        await authenticate(api, authorization)
    assert refusal.value.status == 401
    return refusal.value


async def _code(api: Database, authorization: str | None) -> str:
    return (await _refusal(api, authorization)).code


async def test_whoever_shows_no_whole_key_is_told_what_is_wrong(api: Database, key: NewApiKey) -> None:
    for nothing in (None, "", "Bearer", "Bearer ", "Basic abc"):
        assert await _code(api, nothing) == "missing_api_key"
    mistyped = key.token[:-20] + ("0" if key.token[-20] != "0" else "1") + key.token[-19:]
    for broken in (key.token[:-1], key.token + "0", mistyped, "kzs_", "kzs__", "____", "x", "é" * 40, "kzs_a_b_c"):
        assert await _code(api, f"Bearer {broken}") == "malformed_api_key"
    assert await _code(api, f"Bearer {new_api_key().token}") == "unknown_api_key"


async def test_a_write_key_is_told_apart(api: Database) -> None:
    refusal = await _refusal(api, f"Bearer kzw_{'0' * 12}_{'0' * 32}")
    assert (refusal.code, str(refusal)[:23]) == ("malformed_api_key", "This is a write key, wh")


@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
async def test_a_key_ends(api: Database, database: TestDatabase, key: NewApiKey, column: str) -> None:
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(f"UPDATE access.api_key SET {column} = now()")
    await owner.close()
    assert await _code(api, f"Bearer {key.token}") == "unknown_api_key"


async def test_the_right_id_with_another_secret_opens_nothing(
    api: Database, database: TestDatabase, key: NewApiKey
) -> None:
    other = new_api_key()
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute("UPDATE access.api_key SET public_id = $1", other.public_id)
    await owner.close()
    assert await _code(api, f"Bearer {other.token}") == "unknown_api_key"


def test_neither_secret_nor_token_is_kept(key: NewApiKey) -> None:
    assert len(key.secret_hash) == 32
    assert key.secret_hash.hex() not in key.token
