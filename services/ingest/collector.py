"""The hot paths, in plain ASGI: a body in, 200 out once all of it is durable, or finally refused and recorded."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec
from starlette.exceptions import HTTPException

from libs.common.clock import Clock, wall_now
from libs.common.errors import Refused, RetryLater
from libs.common.web import Probes
from services.ingest.admission import Admission
from services.ingest.bodies import ClientLeft, read_body
from services.ingest.domain.acceptance import Arrival, Limits, Outcome, accept, accept_in_steps
from services.ingest.domain.accounts import AccountNames
from services.ingest.domain.documents import Document
from services.ingest.pace import UNPACED
from services.ingest.paths import Incoming, Meaning
from services.ingest.pressure import Busy, InFlight, NotNow, Refusals
from services.ingest.publisher import TOO_MANY, Publisher
from services.ingest.quotas import OverQuota
from services.ingest.recent import Recent
from services.ingest.write_keys import KeyOwner, WriteKeys, shown_as_bearer, shown_before_the_body

EVENTS_AT_ONCE = 50
"""Decided about before others have a turn: half a millisecond, which a single call beside a batch waits."""
HISTORY_EVENTS_AT_ONCE = 10
"""The same of history, which comes in large batches, several at a time, and can wait."""
NOT_LET_IN = (401, 403)
LISTED_ERRORS = 100
"""Rejected events that an answer names; the rest it counts."""


class Rejected(Refused):
    """The one event of its request is invalid, and is recorded by itself."""


@dataclass(slots=True)
class _Sent:
    """What is known of a request so far, for people if it is refused. ``body`` only as long as it is not read."""

    owner: KeyOwner | None = None
    strict: bool = False
    body: bytes = b""


@dataclass(frozen=True)
class Collector:
    """Takes bodies, whatever path they come by."""

    keys: WriteKeys
    admission: Admission
    publisher: Publisher
    in_flight: InFlight
    recent: Recent
    refusals: Refusals
    clock: Clock
    probes: Probes
    limits: Limits
    names: AccountNames
    batch_limit_bytes: int
    single_limit_bytes: int
    read_seconds: float

    async def answer(self, incoming: Incoming) -> bytes:
        """The body of a 200. Raises Refused, NotNow and RetryLater (503), and what reading a body raises."""
        try:
            return await self._answer_and_show(incoming)
        except (Refused, Busy) as exc:
            if not self._is_held_back(exc):
                raise
            refusal = exc.with_traceback(None)  # its frames hold the body
        if not await self.refusals.hold(incoming.receive):
            raise ClientLeft
        try:
            raise refusal
        finally:
            del refusal  # else it holds this frame, which holds it

    def _is_held_back(self, refusal: Refused | Busy) -> bool:
        if isinstance(refusal, OverQuota | Busy):
            return True
        return refusal.status in NOT_LET_IN and not self.refusals.are_few()

    async def _answer_and_show(self, incoming: Incoming) -> bytes:
        """What is refused is shown to people too, once it is known whose it is."""
        sent = _Sent()
        try:
            return await self._answer(incoming, sent)
        except Rejected:
            raise
        except (Refused, RetryLater, HTTPException) as refusal:
            if sent.owner is not None:
                self.recent.refused(
                    sent.owner, refusal, body=sent.body, historical=incoming.meaning.historical, strict=sent.strict
                )
            raise

    async def _answer(self, incoming: Incoming, sent: _Sent) -> bytes:
        if self.probes.stopping:
            raise NotNow("shutting_down", "This process is stopping; send this again.", 1)
        meaning, headers = incoming.meaning, incoming.headers
        shown = shown_before_the_body(headers, incoming.query)
        sent.owner = owner = (self.keys.known(shown) or await self.keys.owner(shown)) if shown else None
        if owner:
            self.admission.at_the_door(owner, headers, meaning.historical)
        with self.in_flight.request(owner.key_id if owner else "") as share:
            body = await read_body(
                incoming.receive,
                content_length=headers.get(b"content-length", b""),
                content_encoding=headers.get(b"content-encoding", b""),
                limit_bytes=self.single_limit_bytes if meaning.single else self.batch_limit_bytes,
                share=share,
                seconds=self.read_seconds,
                is_here=incoming.is_here,
            )
            sent.body, size = body, len(body)
            document = meaning.read(body, headers)
            sent.body = b""
            del body
            if owner is None:
                sent.owner = owner = await self.keys.owner(document.write_key or shown_as_bearer(headers))
                self.admission.at_the_door(owner, headers, meaning.historical)
                share.is_of(owner.key_id)
            judged = min(len(document.events), self.limits.events)
            share.add_events(size, judged, len(document.events) - judged)
            sent.strict = headers.get(b"x-strict-mode") == b"1"
            outcome, arrival = await self._decide(document, owner, meaning, sent.strict, size)
            count, single = len(document.events), document.single
            del document  # of which nothing is needed any more, and the log may let us wait
            try:
                pace = self.admission.pace(owner) if arrival.historical else UNPACED
                await self.publisher.publish(outcome, arrival, pace)
            except NotNow:  # so it comes again, and would be paid for twice
                self.admission.give_back(owner, count, arrival.historical)
                raise
            self.recent.decided(owner, outcome, arrival, strict=sent.strict, body_bytes=size)
            return _answer_to(outcome, single)

    async def _decide(
        self, document: Document, owner: KeyOwner, meaning: Meaning, strict: bool, body_bytes: int
    ) -> tuple[Outcome, Arrival]:
        """Raises Refused, and OverQuota."""
        historical = meaning.historical or document.historical
        self.admission.take(owner, len(document.events), historical)
        wall = wall_now()
        arrival = Arrival(
            workspace=owner.workspace,
            source=owner.source,
            kind=meaning.kind,
            historical=historical,
            received_at=self.clock.now(),
            wall_now=wall,
            fresh_id=lambda: time_ordered_id(wall),
        )
        at_once = HISTORY_EVENTS_AT_ONCE if historical else EVENTS_AT_ONCE
        if len(document.events) <= at_once:
            outcome = accept(document, arrival, self.limits, self.names)
        else:
            for step in accept_in_steps(document, arrival, self.limits, self.names, at_once):
                outcome = step
                await asyncio.sleep(0)
        if strict and not document.single and outcome.rejected:
            if (but_one := len(document.events) - 1) > 0:  # as a request without events, which costs one
                self.admission.give_back(owner, but_one, historical)
            self.recent.decided(owner, replace(outcome, accepted=[]), arrival, strict=True, body_bytes=body_bytes)
            raise Refused(
                400,
                "strict_mode",
                f"{outcome.rejected} of {len(document.events)} events are invalid, so none was taken.",
                rejected=outcome.rejected,
                errors=_errors(outcome),
            )
        return outcome, arrival


ALL_TAKEN = b'{"success":true}'


def _answer_to(outcome: Outcome, single: bool) -> bytes:
    """Raises Rejected for the one event of a single call."""
    if not outcome.rejected:
        return ALL_TAKEN
    if single:
        reject = outcome.rejects[0]
        raise Rejected(400, reject.code, reject.message)
    return msgspec.json.encode(
        {
            "success": True,
            "accepted": len(outcome.accepted),
            "rejected": outcome.rejected,
            "errors": _errors(outcome),
        }
    )


def _errors(outcome: Outcome) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = [
        {"index": reject.index, "messageId": reject.message_id, "code": reject.code, "message": reject.message}
        for reject in outcome.rejects[:LISTED_ERRORS]
    ]
    beyond = range(outcome.judged, outcome.judged + min(len(outcome.surplus), LISTED_ERRORS - len(listed)))
    return listed + [
        {
            "index": index,
            "messageId": None,
            "code": TOO_MANY,
            "message": f"A batch may have {outcome.judged} events; send the others by themselves.",
        }
        for index in beyond
    ]


def time_ordered_id(now: datetime) -> str:
    """A UUIDv7: unique, and near its contemporaries in an index."""
    milliseconds = int(now.timestamp() * 1000)
    number = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=number))
