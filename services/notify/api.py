"""notify over HTTP: what was told to whom, and what a workspace wants to leave the house."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from libs.common.api_keys import Principal, Scope
from libs.common.db import Database
from libs.common.errors import Refused
from libs.common.events import Channel
from libs.common.web import caller
from services.notify.domain.delivery import Mode, State, UnknownPolicy
from services.notify.preview import MessagePreview, preview
from services.notify.store import policy, reading
from services.notify.store.policy import DeliveryMode, Suppression
from services.notify.store.reading import LedgerEntry
from services.notify.templates import Templates

Cap = Annotated[int, Field(ge=0, le=100_000)]
Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=320, pattern=r"^[^\x00-\x1f]*$")
]


class DeliveryView(BaseModel):
    """One delivery. ``facts`` is what its message shows. ``not_before`` and ``waiting_for`` say what an unsettled one
    waits for; ``last_problem`` is the latest reason why it did not go. ``doubtful`` counts earlier attempts that may
    have told somebody all the same. ``requested_at`` and ``fresh_until`` are domain time, all others real time."""

    id: uuid.UUID
    touch_id: str
    account_id: str
    run_id: str
    playbook: str
    tier: str
    channel: Channel
    target: str | None
    template: str
    state: State
    reason: str | None
    attempt: int
    doubtful: int
    waiting_for: str | None
    not_before: datetime | None
    last_problem: str | None
    provider_id: str | None
    requested_at: datetime
    fresh_until: datetime
    due_at: datetime
    created_at: datetime
    expires_at: datetime
    attempted_at: datetime | None
    accepted_at: datetime | None
    settled_at: datetime | None
    facts: dict[str, Any]


class DeliveryDetail(DeliveryView):
    """With the message as today's templates render it; None where they cannot."""

    message: MessagePreview | None


class DeliveryPage(BaseModel):
    """Newest first. Ask again with ``next_cursor`` for older ones; None at the end."""

    deliveries: list[DeliveryView]
    next_cursor: str | None


class HourlyCap(BaseModel):
    """How many messages may leave in any hour of real time; what is over waits."""

    model_config = ConfigDict(extra="forbid")

    slack: Cap
    email: Cap


class DeliveryModeBody(BaseModel):
    """``observe`` records everything and sends nothing. The kill switch suppresses whatever has not left.
    ``webhook_unknown`` says what to do when a webhook's answer was lost. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    mode: Mode
    kill_switch: bool
    hourly_cap: HourlyCap | None = None
    webhook_unknown: UnknownPolicy | None = None


class DeliveryModeView(BaseModel):
    mode: Mode
    kill_switch: bool
    hourly_cap: HourlyCap
    webhook_unknown: UnknownPolicy
    changed_at: datetime | None
    changed_by: str | None


class SuppressionBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    channel: Channel
    target: Line
    reason: Line


class SuppressionView(BaseModel):
    """``added_by`` is the id of an API key, or ``provider`` when a mail server said that the address is dead."""

    channel: Channel
    target: str
    reason: str
    added_at: datetime
    added_by: str


class SuppressionList(BaseModel):
    suppressions: list[SuppressionView]


def routes(database: Database, templates: Templates) -> APIRouter:
    router = APIRouter(prefix="/v1")
    reader: Any = caller(database, Scope.READ)
    admin: Any = caller(database, Scope.ADMIN)

    @router.get("/deliveries", tags=["deliveries"], summary="What was told, to whom, why not, and what still waits")
    async def list_deliveries(
        who: Principal = reader,
        account: Annotated[str | None, Query(max_length=512, pattern=r"^[^\x00]*$")] = None,
        state: State | None = None,
        channel: Channel | None = None,
        cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,18}$")] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> DeliveryPage:
        async with database.transaction([who.workspace]) as connection:
            found = await reading.entries(
                connection,
                who.workspace,
                account=account,
                state=state,
                channel=channel,
                before=int(cursor) if cursor else None,
                limit=limit,
            )
        more = str(found[-1].seq) if len(found) == limit else None
        return DeliveryPage(deliveries=[DeliveryView(**_fields(entry)) for entry in found], next_cursor=more)

    @router.get("/deliveries/{delivery_id}", tags=["deliveries"], summary="One delivery, with its message rendered")
    async def show_delivery(delivery_id: uuid.UUID, who: Principal = reader) -> DeliveryDetail:
        async with database.transaction([who.workspace]) as connection:
            entry = await reading.entry(connection, who.workspace, delivery_id)
        if entry is None:
            raise Refused(404, "unknown_delivery", f"There is no delivery {delivery_id}.")
        return DeliveryDetail(**_fields(entry), message=preview(entry.delivery, templates))

    @router.get("/delivery-mode", tags=["delivery mode"], summary="What this workspace lets leave the house")
    async def show_mode(who: Principal = reader) -> DeliveryModeView:
        async with database.transaction([who.workspace]) as connection:
            return _mode_view(await policy.delivery_mode(connection, who.workspace))

    @router.put("/delivery-mode", tags=["delivery mode"], summary="Enable, observe, stop, or cap")
    async def set_mode(body: DeliveryModeBody, who: Principal = admin) -> DeliveryModeView:
        """Holds for everything that leaves after the answer; a call that is under way may still arrive."""
        async with database.transaction([who.workspace]) as connection:
            await policy.lock_policy(connection, who.workspace)
            before = await policy.delivery_mode(connection, who.workspace)
            wanted = DeliveryMode(
                mode=body.mode,
                kill_switch=body.kill_switch,
                slack_hourly_cap=body.hourly_cap.slack if body.hourly_cap else before.slack_hourly_cap,
                email_hourly_cap=body.hourly_cap.email if body.hourly_cap else before.email_hourly_cap,
                webhook_unknown=body.webhook_unknown or before.webhook_unknown,
            )
            await policy.set_delivery_mode(connection, who.workspace, wanted, by=who.key_id)
            return _mode_view(await policy.delivery_mode(connection, who.workspace))

    @router.get("/suppressions", tags=["suppression list"], summary="Who is told nothing")
    async def list_suppressions(who: Principal = reader) -> SuppressionList:
        async with database.transaction([who.workspace]) as connection:
            return _list_view(await policy.suppressions(connection, who.workspace))

    @router.post("/suppressions", tags=["suppression list"], summary="Tell somebody nothing from now on")
    async def add_suppression(body: SuppressionBody, who: Principal = admin) -> SuppressionList:
        """Holds for everything that leaves after the answer. The answer is the whole list."""
        async with database.transaction([who.workspace]) as connection:
            await policy.lock_policy(connection, who.workspace, [body.channel])
            await policy.suppress_target(
                connection, who.workspace, body.channel, body.target, body.reason, by=who.key_id
            )
            return _list_view(await policy.suppressions(connection, who.workspace))

    @router.delete("/suppressions", tags=["suppression list"], summary="Let somebody be told again")
    async def remove_suppression(
        channel: Channel, target: Annotated[Line, Query()], who: Principal = admin
    ) -> SuppressionList:
        async with database.transaction([who.workspace]) as connection:
            if not await policy.allow_target(connection, who.workspace, channel, target):
                raise Refused(404, "unknown_suppression", "That target is not on the suppression list.")
            return _list_view(await policy.suppressions(connection, who.workspace))

    return router


def _fields(entry: LedgerEntry) -> dict[str, Any]:
    delivery = entry.delivery
    return {
        "id": delivery.id,
        "touch_id": delivery.touch_id,
        "account_id": delivery.account_id,
        "run_id": delivery.run_id,
        "playbook": delivery.playbook,
        "tier": delivery.tier,
        "channel": delivery.channel,
        "target": delivery.target,
        "template": delivery.template,
        "state": delivery.state,
        "reason": entry.reason,
        "attempt": delivery.attempt,
        "doubtful": delivery.doubtful,
        "waiting_for": entry.waiting_for,
        "not_before": entry.not_before,
        "last_problem": entry.last_problem,
        "provider_id": entry.provider_id,
        "requested_at": delivery.requested_at,
        "fresh_until": delivery.fresh_until,
        "due_at": delivery.due_at,
        "created_at": delivery.created_at,
        "expires_at": delivery.expires_at,
        "attempted_at": entry.attempted_at,
        "accepted_at": entry.accepted_at,
        "settled_at": entry.settled_at,
        "facts": msgspec.to_builtins(delivery.facts),
    }


def _mode_view(mode: DeliveryMode) -> DeliveryModeView:
    return DeliveryModeView(
        mode=mode.mode,
        kill_switch=mode.kill_switch,
        hourly_cap=HourlyCap(slack=mode.slack_hourly_cap, email=mode.email_hourly_cap),
        webhook_unknown=mode.webhook_unknown,
        changed_at=mode.changed_at,
        changed_by=mode.changed_by,
    )


def _list_view(found: list[Suppression]) -> SuppressionList:
    return SuppressionList(
        suppressions=[
            SuppressionView(
                channel=one.channel,
                target=one.target,
                reason=one.reason,
                added_at=one.added_at,
                added_by=one.added_by,
            )
            for one in found
        ]
    )
