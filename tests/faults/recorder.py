"""Writes down what a run left behind: waits until everything is through, then asks every place once."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from math import inf
from time import monotonic
from typing import Any

import asyncpg
import httpx

from libs.common.errors import InvalidEvent, RetryLater
from libs.common.event_log import EventLog, ReadRecord, TopicPartition
from libs.common.events import AccountChanged, DeliveryResult, Event, TouchCancelled, TouchRequested, decode
from libs.common.topics import Topic
from tests.faults.history import (
    Account,
    Counted,
    DeadLetter,
    Delivery,
    FaultMoment,
    History,
    LogRecord,
    Mail,
    SlackMessage,
    Touch,
    Waiting,
)
from tests.faults.load import Load
from tests.faults.town import Town
from tests.faults.waiting import waiting

PATIENCE_SECONDS = 30.0
"""After the load ended and the last fault was over: what is not through by then is stuck."""
LOOK_SECONDS = 0.1
DOES_NOT_ANSWER = (RetryLater, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, httpx.HTTPError)
READ_SECONDS = 20.0
PAGE = 200


class Recorder:
    """Made before the load begins: what the log and the inbox hold by then belongs to earlier runs."""

    def __init__(self, town: Town, load: Load, log: EventLog) -> None:
        self._town = town
        self._load = load
        self._log = log
        self._log_from: Mapping[TopicPartition, int] = {}
        self._identities_then: Mapping[Topic, str] = {}
        self._inbox_from = 0
        self.still_seconds = inf
        """What has waited for so long without any change is not waited for to the end."""
        self._faults: list[FaultMoment] = []

    async def begin(self) -> None:
        self._identities_then = await self._identities()
        self._log_from = await self._log.ends(list(Topic))
        self._inbox_from = (await self._inbox())["seq"]

    def now(self) -> float:
        return monotonic() - self._load.began

    def note_fault(self, fault: str, at: float, over_at: float) -> None:
        """Both in seconds since the load began."""
        self._faults.append(FaultMoment(fault=fault, at=at, over_at=over_at))

    async def history(self, *, seed: int | None = None) -> History:
        """Call it when the load has ended and every fault is over."""
        since = max([self._load.last_answer_at, *(fault.over_at for fault in self._faults)])
        through_at, left = await self._until_through(since + PATIENCE_SECONDS)
        headers = {"authorization": f"Bearer {self._load.keys.api_key}"}
        async with httpx.AsyncClient(headers=headers, timeout=10) as http:
            asked = _Asked(self._town, http)
            names = [one.account_id for one in self._load.expected()]
            accounts, counted = await asked.accounts(names)
            inbox = [one for one in (await self._inbox())["messages"] if not self._is_of_an_earlier_run(one)]
            return History(
                engine=self._town.engine,
                workspace=self._load.keys.workspace,
                seed=seed,
                sent=self._load.sent(),
                expected=self._load.expected(),
                accounts=accounts,
                counted=counted,
                usage_total=(await asked.one("health", "/v1/progress"))["usage_total"],
                touches=await asked.touches(),
                deliveries=await asked.deliveries(),
                slack=tuple(_slack_message(one) for one in inbox if one["channel"] == "slack"),
                mails=tuple(_mail(one) for one in inbox if one["channel"] == "email"),
                log=tuple([one async for one in self._records()]),
                letters=await asked.letters(),
                waiting=left,
                faults=tuple(self._faults),
                load_ended_at=self._load.last_answer_at,
                through_at=through_at,
            )

    async def _until_through(self, deadline: float) -> tuple[float | None, tuple[Waiting, ...]]:
        """When nothing waited any more, and what did at the deadline."""
        left: tuple[Waiting, ...] = ()
        changed_at = self.now()
        while True:
            asked_at, before = self.now(), left
            try:
                left = await waiting(self._town, self._load.keys, self._log)
                if not left:
                    return asked_at, ()
            except DOES_NOT_ANSWER as exc:
                left = (Waiting(what=f"an answer ({type(exc).__name__}: {exc})", count=1),)
            if left != before:
                changed_at = self.now()
            if self.now() > min(deadline, changed_at + self.still_seconds):
                return None, left
            await asyncio.sleep(LOOK_SECONDS)

    async def _inbox(self) -> Any:
        async with httpx.AsyncClient(timeout=10) as http:
            answer = await http.get(f"{self._town.inbox_url}/v1/messages", params={"after": self._inbox_from})
            return answer.raise_for_status().json()

    def _is_of_an_earlier_run(self, message: Mapping[str, Any]) -> bool:
        """One that failed may have left something to be told. Accounts are named after their run."""
        shown = json.dumps(message["recipients"] if message["channel"] == "email" else message["blocks"])
        named = {int(number) for number in re.findall(r"\bw(\d+)-(?:high|pool|mail|account)-", shown)}
        return bool(named) and self._load.keys.workspace not in named

    async def _identities(self) -> Mapping[Topic, str]:
        return {topic: await self._log.identity(topic) for topic in Topic}

    async def _records(self) -> AsyncIterator[LogRecord]:
        """Everything that was written to any topic since ``begin``, as far as the log still holds it; all of a topic
        that was made again meanwhile."""
        starts, ends = await self._log.starts(list(Topic)), await self._log.ends(list(Topic))
        identities = await self._identities()
        begins = {
            place: max(begin, starts[place])
            if identities[place.topic] == self._identities_then[place.topic]
            else starts[place]
            for place, begin in self._log_from.items()
        }
        unread = {place for place, end in ends.items() if end > begins[place]}

        async def since_the_beginning(place: TopicPartition) -> int:
            return begins[place]

        deadline = monotonic() + READ_SECONDS
        group = f"recorder {self._load.label}"
        async with self._log.subscribe(group, list(Topic), since_the_beginning) as subscription:
            while unread:
                assert monotonic() < deadline, f"the log does not let itself be read: {sorted(unread)}"
                batch = await subscription.next_batch(2000, 0.5)
                if batch is None:
                    continue
                for record in batch.records:
                    yield log_record(batch.source, record)
                if batch.end >= ends[batch.source]:
                    unread.discard(batch.source)


def log_record(place: TopicPartition, record: ReadRecord) -> LogRecord:
    try:
        event: Event | None = decode(record.value)
    except InvalidEvent:
        event = None  # a dead letter holds what it held
    touch_id = None
    if isinstance(event, TouchRequested):
        touch_id = event.id
    elif isinstance(event, TouchCancelled | DeliveryResult):
        touch_id = event.touch_id
    return LogRecord(
        topic=place.topic.value,
        partition=place.partition,
        offset=record.offset,
        key=record.key.decode(errors="replace"),
        type=str(event.__struct_config__.tag) if event else "",
        event_id=event.id if event else "",
        sequence=event.version if isinstance(event, AccountChanged) else None,
        touch_id=touch_id,
    )


def _slack_message(shown: Mapping[str, Any]) -> SlackMessage:
    payload = (shown["metadata"] or {}).get("event_payload", {})
    return SlackMessage(
        channel=shown["channel_name"], ts=shown["ts"], via=shown["via"], delivery_id=payload.get("delivery_id")
    )


def _mail(shown: Mapping[str, Any]) -> Mail:
    [recipient] = shown["recipients"]
    return Mail(message_id=shown["message_id"], recipient=recipient)


class _Asked:
    """What the APIs answer, whichever process of a service does."""

    def __init__(self, town: Town, http: httpx.AsyncClient) -> None:
        self._town = town
        self._http = http

    async def one(self, service: str, path: str, **parameters: object) -> Any:
        given: dict[str, Any] = {name: value for name, value in parameters.items() if value is not None}
        answer = await self._http.get(f"{self._town.url(f'{service}-0')}{path}", params=given)
        return None if answer.status_code == 404 else answer.raise_for_status().json()

    async def accounts(self, names: Sequence[str]) -> tuple[tuple[Account, ...], tuple[Counted, ...]]:
        accounts, counted = [], []
        for name in names:
            health = await self.one("health", f"/v1/accounts/{name}/health")
            if health is None:
                continue
            usage = await self.one("health", f"/v1/accounts/{name}/usage")
            timeline = await self.one("playbook", f"/v1/accounts/{name}/timeline", limit=500) or {"entries": []}
            findings = sum(entry["kind"] == "finding" for entry in timeline["entries"])
            accounts.append(Account(account_id=name, version=health["version"], band=health["band"], findings=findings))
            by_event: dict[str, int] = {}
            for day in usage["days"]:
                by_event[day["event"]] = by_event.get(day["event"], 0) + day["count"]
            counted += [Counted(account_id=name, event=event, count=count) for event, count in by_event.items()]
        return tuple(accounts), tuple(counted)

    async def touches(self) -> tuple[Touch, ...]:
        return tuple(
            [
                Touch(
                    touch_id=touch["touch_id"],
                    run_id=run["run_id"],
                    account_id=run["account_id"],
                    playbook=run["playbook"],
                    step=touch["step"],
                    channel=touch["channel"],
                    state=touch["state"],
                )
                async for run in self._pages("playbook", "/v1/runs", "runs")
                for touch in run["touches"]
            ]
        )

    async def deliveries(self) -> tuple[Delivery, ...]:
        return tuple(
            [
                Delivery(
                    delivery_id=row["id"],
                    touch_id=row["touch_id"],
                    account_id=row["account_id"],
                    channel=row["channel"],
                    state=row["state"],
                    reason=row["reason"],
                    attempt=row["attempt"],
                    doubtful=row["doubtful"],
                )
                async for row in self._pages("notify", "/v1/deliveries", "deliveries")
            ]
        )

    async def letters(self) -> tuple[DeadLetter, ...]:
        found = []
        for service in ("health", "playbook", "notify"):
            for row in await self.one(service, "/v1/dead-letters", limit=500):
                found.append(DeadLetter(service=service, letter_id=row["id"], topic=row["topic"], reason=row["reason"]))
        return tuple(found)

    async def _pages(self, service: str, path: str, what: str) -> AsyncIterator[Mapping[str, Any]]:
        cursor = None
        while True:
            page = await self.one(service, path, limit=PAGE, cursor=cursor)
            for row in page[what]:
                yield row
            cursor = page["next_cursor"]
            if cursor is None:
                return
