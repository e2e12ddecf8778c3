"""API keys of people and scripts: a public id to look up, a secret that is stored only as a hash, scopes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import zlib
from dataclasses import dataclass
from enum import StrEnum

from libs.common.db import Database, text
from libs.common.errors import Refused

PREFIX = "kzs"
WRITE_KEY_PREFIX = "kzw"
A_WRITE_KEY = (
    f"This is a write key, which opens nothing but sending events: show an API key, which begins with {PREFIX}_ "
    "(kizashi api-keys create)."
)


class Scope(StrEnum):
    READ = "read"  # see accounts, scores, timelines, deliveries
    WRITE = "write"  # send history, change an account's runs and tasks
    ADMIN = "admin"  # keys, sources, delivery mode, dead letters of the workspace
    OPERATOR = "operator"  # the installation: letters of no workspace, positions of the log


@dataclass(frozen=True)
class Principal:
    """Who is calling: everything a request may see or do follows from it."""

    workspace: int
    key_id: str
    scopes: frozenset[Scope]


@dataclass(frozen=True)
class NewApiKey:
    """``token`` is shown once and never stored."""

    token: str
    public_id: str
    secret_hash: bytes


def new_api_key() -> NewApiKey:
    public_id = secrets.token_hex(6)
    secret = secrets.token_hex(32)
    body = f"{PREFIX}_{public_id}_{secret}"
    return NewApiKey(token=body + _checksum(body), public_id=public_id, secret_hash=_hash(secret))


def _checksum(body: str) -> str:
    """8 digits that tell a mistyped key from an unknown one without a look-up (and let scanners find leaked keys)."""
    return f"{zlib.crc32(body.encode()):08x}"


def _hash(secret: str) -> bytes:
    """A plain hash suffices: the secret has 256 random bits, so there is nothing to guess."""
    return hashlib.sha256(secret.encode()).digest()


async def authenticate(database: Database, authorization: str | None) -> Principal:
    """The caller named by an ``Authorization: Bearer kzs_…`` header. Raises Refused 401."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Refused(401, "missing_api_key", "Send your API key as: Authorization: Bearer kzs_…")
    parts = token.strip().split("_")
    if parts[0] == WRITE_KEY_PREFIX:
        raise Refused(401, "malformed_api_key", A_WRITE_KEY)
    if len(parts) != 3 or parts[0] != PREFIX or _checksum(token.strip()[:-8]) != token.strip()[-8:]:
        raise Refused(401, "malformed_api_key", "This is not a whole API key; copy it again.")
    public_id, secret = parts[1], parts[2][:-8]
    async with database.transaction() as connection:
        found = (
            await connection.execute(
                text(
                    "SELECT workspace_id, secret_hash, scopes FROM access.api_key WHERE public_id = :public_id "
                    "AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
                ),
                {"public_id": public_id},
            )
        ).one_or_none()
    if found is None or not hmac.compare_digest(bytes(found.secret_hash), _hash(secret)):
        raise Refused(401, "unknown_api_key", "This API key is unknown, expired or revoked.")
    # A scope of a newer release gives nothing here, and takes nothing away.
    scopes = frozenset(scope for scope in Scope if scope.value in found.scopes)
    return Principal(workspace=found.workspace_id, key_id=public_id, scopes=scopes)
