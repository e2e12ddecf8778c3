"""A product under load: SDKs that send until they are answered, and accounts of which each tells one story, once."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from time import monotonic
from typing import Any
from zlib import crc32

import httpx

from libs.common.clock import wall_now
from libs.common.testing import eventually
from services.ingest.bootstrap import Installed
from tests.faults.history import Expected, Sent
from tests.faults.town import Town

ACCOUNTS = 24
PEOPLE = 4
"""Of an account that works; one that tells a story has a single person."""
SDKS = 6
RATE = 150.0
"""Events a second, of all accounts together."""
BATCH = 60
TICK_SECONDS = 0.1
UNANSWERED_SECONDS = 7.0
"""After this an SDK gives up a request and sends it again; the server answers within 5."""
AGAIN_SECONDS = 0.3
REPEATED = 0.03
"""Of the requests: answered, but the SDK did not hear it and sends them once more."""
DRAIN_SECONDS = 60.0
PREPARED_SECONDS = 90.0
TIERS: Mapping[str, Mapping[str, object]] = {
    "high": {"plan": "enterprise"},
    "pool": {"arr": 20_000},
    "mail": {"arr": 5_000},
}
"""Traits that lead to a tier: Slack, Slack of the pool, email (config/segments.yaml, config/touch_tiers.yaml)."""


@dataclass
class Call:
    """One call of an SDK, as it is sent, however often."""

    body: Mapping[str, Any]
    user: str
    sequence: int
    account: str
    event: str
    first_sent_at: float | None = None
    acknowledged_at: float | None = None


@dataclass
class Sdk:
    """Sends its users' calls in their order, one request at a time, until each is answered with 200."""

    http: httpx.AsyncClient
    addresses: Sequence[str]
    write_key: str
    luck: random.Random
    began: float
    may_send: asyncio.Event
    waiting: deque[Call] = field(default_factory=deque)
    requests: int = 0
    is_sending: bool = False

    async def run(self) -> None:
        addresses = cycle(self.addresses)
        while True:
            if not self.waiting:
                await asyncio.sleep(TICK_SECONDS / 2)
                continue
            single = self.requests % 5 == 0
            calls = [self.waiting[n] for n in range(1 if single else min(BATCH, len(self.waiting)))]
            while not await self._send(next(addresses), calls, single):  # noqa: ASYNC110 - nobody else knows
                await asyncio.sleep(AGAIN_SECONDS)
            for call in calls:
                call.acknowledged_at = monotonic() - self.began
                self.waiting.popleft()
            if self.luck.random() < REPEATED:
                await self._send(next(addresses), calls, single)

    async def _send(self, address: str, calls: Sequence[Call], single: bool) -> bool:
        await self.may_send.wait()
        self.is_sending = True
        try:
            return await self._post(address, calls, single)
        finally:
            self.is_sending = False

    async def _post(self, address: str, calls: Sequence[Call], single: bool) -> bool:
        self.requests += 1
        now = monotonic() - self.began
        for call in calls:
            call.first_sent_at = call.first_sent_at or now
        path = f"/v1/{calls[0].body['type']}" if single else "/v1/batch"
        body = {**(calls[0].body if single else {"batch": [call.body for call in calls]})}
        try:
            answer = await self.http.post(
                f"{address}{path}",
                json=body | {"sentAt": wall_now().isoformat()},
                headers={"x-write-key": self.write_key},
            )
        except httpx.TransportError:
            return False
        if answer.status_code == 200:
            assert answer.json() == {"success": True}, answer.text
            return True
        assert answer.status_code in (429, 503), f"{answer.status_code} {answer.text}"
        return False


class Load:
    """The product of one workspace. ``began`` is the monotonic moment from which its history counts.

    ``stories``: how many accounts of each tier tell theirs.
    """

    def __init__(self, town: Town, keys: Installed, stories: Mapping[str, int], *, rate: float = RATE) -> None:
        self.keys = keys
        self.began = monotonic()
        self.label = f"w{keys.workspace}"
        self._town = town
        self._rate = rate
        self._luck = random.Random(keys.workspace)
        self._calls: list[Call] = []
        self._sequences: dict[str, int] = {}
        self.accounts = [f"{self.label}-account-{n:03d}" for n in range(ACCOUNTS)]
        self.people = {account: [f"{account}-person-{n}" for n in range(PEOPLE)] for account in self.accounts}
        self.untold = deque(f"{self.label}-{tier}-{n:03d}" for tier, count in stories.items() for n in range(count))
        self._luck.shuffle(self.untold)
        self.told: list[str] = []
        self._may_send = asyncio.Event()
        self._may_send.set()
        self._sdks: list[Sdk] = []
        self._sending: list[asyncio.Task[None]] = []

    # --- what it leaves for the history ---

    def sent(self) -> tuple[Sent, ...]:
        return tuple(
            Sent(
                message_id=call.body["messageId"],
                account_id=call.account,
                user_id=call.user,
                sequence=call.sequence,
                event=call.event,
                first_sent_at=call.first_sent_at,
                acknowledged_at=call.acknowledged_at,
            )
            for call in self._calls
            if call.first_sent_at is not None
        )

    def expected(self) -> tuple[Expected, ...]:
        working = [Expected(account_id=account, band="green") for account in [*self.accounts, *self.untold]]
        told = [Expected(account_id=account, band="red", told_by=("usage-decline",)) for account in self.told]
        return (*working, *told)

    @property
    def last_answer_at(self) -> float:
        return max((call.acknowledged_at for call in self._calls if call.acknowledged_at is not None), default=0.0)

    # --- what it does ---

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Everybody is known and green when the block begins; at its end every call was answered."""
        timeout = httpx.Timeout(UNANSWERED_SECONDS)
        addresses = [self._town.url(f"ingest-{member}") for member in range(2)]
        async with httpx.AsyncClient(timeout=timeout) as http:
            self._sdks = [
                Sdk(
                    http,
                    addresses if n % 2 else addresses[::-1],
                    self.keys.write_key,
                    self._luck,
                    self.began,
                    self._may_send,
                )
                for n in range(SDKS)
            ]
            self._sending = [asyncio.create_task(sdk.run(), name=f"sdk {n}") for n, sdk in enumerate(self._sdks)]
            working = None
            try:
                await self._prepare()
                working = asyncio.create_task(self._work(), name="work")
                yield
                working.cancel()
                await self._until_answered()
            finally:
                everything = [*self._sending, *([working] if working else [])]
                for task in everything:
                    task.cancel()
                await asyncio.wait(everything)

    def tell(self, count: int = 1) -> None:
        """So many accounts that were well have an urgent ticket now."""
        for _ in range(min(count, len(self.untold))):
            account = self.untold.popleft()
            self.told.append(account)
            fields = {"priority": "urgent", "ticket_id": f"{account}-ticket"}
            self._call(f"{account}-person", account, "track", event="Ticket Opened", properties=fields)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """No request is under way in the block: what waits is sent after it."""

        async def none_is_under_way() -> bool:
            return not any(sdk.is_sending for sdk in self._sdks)

        self._may_send.clear()
        try:
            await eventually(none_is_under_way, within_seconds=2 * UNANSWERED_SECONDS, what="every request is answered")
            yield
        finally:
            self._may_send.set()

    async def _prepare(self) -> None:
        for account, people in self.people.items():
            for person in people:
                self._call(person, account, "group", traits={"name": account})
        for account in self.untold:
            tier = account.split("-")[1]
            traits = {**TIERS[tier], "name": account, "contact_email": f"{account}@customer.example"}
            self._call(f"{account}-person", account, "group", traits=traits)
        await self._until_answered()
        headers = {"authorization": f"Bearer {self.keys.api_key}"}
        url = f"{self._town.url('health-0')}/v1/accounts"
        async with httpx.AsyncClient(headers=headers, timeout=5) as http:

            async def all_green() -> bool:
                try:
                    answer = await http.get(url, params={"band": "green", "limit": 500})
                except httpx.TransportError:
                    return False
                return answer.is_success and len(answer.json()["accounts"]) == len(self.accounts) + len(self.untold)

            await eventually(all_green, within_seconds=PREPARED_SECONDS, what="every account is green")

    async def _work(self) -> None:
        """A steady rate, whether anybody answers or not; every name of an event is used once."""
        owed, last = 0.0, monotonic()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = monotonic()
            owed, last = owed + (now - last) * self._rate, now
            for _ in range(int(owed)):
                account = self._luck.choice(self.accounts)
                person = self._luck.choice(self.people[account])
                named = {"context": {"groupId": account}} if self._luck.random() < 0.5 else {}
                self._call(person, account, "track", event=f"{person} {self._sequences[person]}", **named)
            owed -= int(owed)

    def _call(self, user: str, account: str, kind: str, **fields: Any) -> None:
        sequence = self._sequences.get(user, 0)
        self._sequences[user] = sequence + 1
        body = {"type": kind, "userId": user, "messageId": f"{user}/{sequence}", "timestamp": wall_now().isoformat()}
        if kind == "group":
            body["groupId"] = account
        call = Call(body | fields, user, sequence, account, fields.get("event", f"${kind}"))
        self._calls.append(call)
        self._sdks[crc32(account.encode()) % SDKS].waiting.append(call)

    async def _until_answered(self) -> None:
        async def answered() -> bool:
            for task in self._sending:
                if task.done():
                    task.result()
            return not any(sdk.waiting for sdk in self._sdks)

        await eventually(answered, within_seconds=DRAIN_SECONDS, what="ingest acknowledges everything that was sent")
