"""Write keys: where a request shows one, whose it is, and how new ones are made."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial
from time import monotonic
from urllib.parse import parse_qsl

from libs.common.clock import wall_now
from libs.common.errors import Refused, RetryLater

PREFIX = "kzw_"
API_KEY_PREFIX = "kzs_"
LONGEST = 200
LOOK_UP_SECONDS = 2.0
KNOWN_SECONDS = 0.5
"""To hear again of a key that is known; then it is taken for what it was, and what is heard later counts for the next.
With an event log that does not answer either, a request still gets its answer within six seconds."""
UNKNOWN_SECONDS = 1.0
"""How long an unknown key is remembered as unknown at most: a new one works a second after it was tried too early."""
STALE_SECONDS = 300.0
"""How long a known key goes on working while the database does not answer: telemetry needs only the log."""
REMEMBERED = 10_000
AN_API_KEY = (
    "This is an API key, which belongs into no product: send with a write key of the source, which begins with "
    f"{PREFIX} (kizashi keys create --source ID)."
)


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whose a key is and what it may do. ``origins`` are the pages that may use it, none for all;
    ``events_per_s`` None leaves the quota to the installation; from ``expires_at`` on, in real time, it is unknown."""

    workspace: int
    source: int
    key_id: str
    events_per_s: int | None = None
    origins: frozenset[str] = frozenset()
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewWriteKey:
    """``key`` is shown once and never stored. ``key_id`` names it from then on, and stands in it: so whoever sees the
    key in a product or in a leak knows which one it is."""

    key: str
    key_id: str
    secret_hash: bytes


def new_write_key() -> NewWriteKey:
    """Write keys are public in browsers, so all that they open is writing; they are hashed all the same."""
    key_id = secrets.token_hex(6)
    key = f"{PREFIX}{key_id}_{secrets.token_hex(16)}"
    return NewWriteKey(key=key, key_id=key_id, secret_hash=hash_of(key))


@lru_cache(maxsize=REMEMBERED)
def hash_of(key: str) -> bytes:
    """A plain hash suffices: the key has 128 random bits."""
    return hashlib.sha256(key.encode(errors="replace")).digest()


def shown_before_the_body(headers: Mapping[bytes, bytes], query: bytes) -> str | None:
    """The key in the headers or the address. It wins over the body's: some clients put a masked one there."""
    if (authorization := headers.get(b"authorization")) and (name := _user_name(authorization)):
        return name
    # Jitsu's clients refuse a key that is not written as id:secret, so something may follow ours.
    if header := headers.get(b"x-write-key", b"").decode("latin-1").partition(":")[0].strip():
        return header
    for name, value in parse_qsl(query.decode("latin-1")) if query else ():
        if name in ("writeKey", "writekey") and value.strip():
            return value.strip()
    return None


def _user_name(authorization: bytes) -> str:
    """Of Basic; empty when there is none."""
    # Remembered only if it can be a key's: what strangers send may be long.
    return _read_user_name(authorization) if len(authorization) > 2 * LONGEST else _known_user_name(authorization)


def _read_user_name(authorization: bytes) -> str:
    scheme, _, credentials = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return ""
    try:
        decoded = base64.b64decode(credentials.strip() + b"==").decode("utf-8", errors="replace")
    except binascii.Error:
        return ""
    return decoded.partition(":")[0].strip()


_known_user_name = lru_cache(maxsize=REMEMBERED)(_read_user_name)


def shown_as_bearer(headers: Mapping[bytes, bytes]) -> str | None:
    """The last place to look: clients that carry another system's bearer token show their key in the body."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.decode("latin-1").strip() or None if scheme.lower() == b"bearer" else None


@dataclass(slots=True)
class _Remembered:
    owner: KeyOwner | None
    asked_at: float

    def age(self) -> float:
        return monotonic() - self.asked_at


class WriteKeys:
    """Whose a key is, remembered for some seconds so that hot paths ask no database, and never beyond its expiry."""

    def __init__(
        self,
        find: Callable[[bytes], Awaitable[KeyOwner | None]],
        remember_seconds: float,
        now: Callable[[], datetime] = wall_now,
    ) -> None:
        """``find`` gives the owner of a key that works, by its hash; it may raise RetryLater."""
        self._find = find
        self._remember_seconds = remember_seconds
        self._remember_unknown_seconds = min(remember_seconds, UNKNOWN_SECONDS)
        self._now = now
        self._remembered: dict[bytes, _Remembered] = {}
        self._asking: dict[bytes, asyncio.Task[KeyOwner | None]] = {}

    def known(self, key: str) -> KeyOwner | None:
        """Its owner, if that is remembered well enough to ask nobody."""
        known = self._last_heard(hash_of(key)) if len(key) <= LONGEST else None
        return known.owner if known and self._is_fresh(known) else None

    async def owner(self, key: str | None) -> KeyOwner:
        """Raises Refused 401 for no key or an unknown one, RetryLater when nobody can tell."""
        if not key:
            raise Refused(
                401, "missing_write_key", "Show the source's write key: as the user name of Basic, or as X-Write-Key."
            )
        found = await self._owner_of(hash_of(key)) if len(key) <= LONGEST else None
        if found is None and key.startswith(API_KEY_PREFIX):
            raise Refused(401, "unknown_write_key", AN_API_KEY)
        if found is None:
            raise Refused(401, "unknown_write_key", "This write key is unknown, expired or revoked.")
        return found

    async def _owner_of(self, number: bytes) -> KeyOwner | None:
        known = self._last_heard(number)
        if known and self._is_fresh(known):
            return known.owner
        try:
            return await self._ask(number, KNOWN_SECONDS if known and known.owner else LOOK_UP_SECONDS)
        except RetryLater:
            if known and known.owner and known.age() < STALE_SECONDS and not self._has_expired(known.owner):
                return known.owner
            raise

    def _last_heard(self, number: bytes) -> _Remembered | None:
        known = self._remembered.get(number)
        return None if known and known.owner and self._has_expired(known.owner) else known

    def _is_fresh(self, known: _Remembered) -> bool:
        return known.age() < (self._remember_seconds if known.owner else self._remember_unknown_seconds)

    def _has_expired(self, owner: KeyOwner) -> bool:
        return owner.expires_at is not None and owner.expires_at <= self._now()

    async def _ask(self, number: bytes, patience_seconds: float) -> KeyOwner | None:
        """Ask once, however many requests with this key are waiting. Raises RetryLater."""
        asking = self._asking.get(number)
        if asking is None:
            asking = self._asking[number] = asyncio.create_task(self._look_up(number), name="write key look-up")
            asking.add_done_callback(partial(self._asked, number))
        heard, _ = await asyncio.wait([asking], timeout=patience_seconds)
        if not heard:  # nor is it waited for that the driver gives up
            raise RetryLater("write keys cannot be looked up just now")
        return asking.result()

    def _asked(self, number: bytes, asking: asyncio.Task[KeyOwner | None]) -> None:
        self._asking.pop(number, None)
        if not asking.cancelled():
            asking.exception()  # perhaps nobody waits for it any more

    async def _look_up(self, number: bytes) -> KeyOwner | None:
        asked_at = monotonic()
        try:
            async with asyncio.timeout(LOOK_UP_SECONDS):
                owner = await self._find(number)
        except TimeoutError as exc:
            raise RetryLater("write keys cannot be looked up just now") from exc
        self._remembered.pop(number, None)
        self._remembered[number] = _Remembered(owner, asked_at)
        if len(self._remembered) > REMEMBERED:
            self._forget_one()
        return owner

    def _forget_one(self) -> None:
        """The oldest that nobody has: keys that somebody made up must not cost others those that work."""
        unknown = (number for number, known in self._remembered.items() if known.owner is None)
        del self._remembered[next(unknown, next(iter(self._remembered)))]
