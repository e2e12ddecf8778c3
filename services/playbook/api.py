"""HTTP of playbook: what happened to an account and why, which runs there are, which playbooks are loaded."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from libs.common.api_keys import Principal, Scope
from libs.common.db import Database
from libs.common.errors import Refused
from libs.common.events import Tier
from libs.common.web import caller
from services.playbook.definitions import Catalogue, Playbook, Step, TouchTiers
from services.playbook.domain.runs import Outcome
from services.playbook.domain.timeline import Kind
from services.playbook.domain.touches import TouchState
from services.playbook.store import pages
from services.playbook.store.pages import EntryPlace, RunPlace

Text = Annotated[str | None, Query(pattern=r"^[^\x00]+$")]
Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before")]


class TimelineEntry(BaseModel):
    """``at`` is domain time, ``title`` a sentence for people; ``details`` depend on ``kind``."""

    at: datetime
    kind: Kind
    title: str
    details: dict[str, Any]


class Timeline(BaseModel):
    account_id: str
    entries: list[TimelineEntry]
    next_cursor: str | None = None


class TouchView(BaseModel):
    """``recipient`` is a Slack channel or an email address; None when the account had no contact."""

    touch_id: UUID
    step: int
    channel: str
    recipient: str | None
    template: str
    state: TouchState
    reason: str | None
    requested_at: datetime
    settled_at: datetime | None


class RunView(BaseModel):
    """``steps`` are those of the run's tier in the version it started with; ``step`` is the index of the next one, due
    at ``next_step_at`` unless the run has ended. All times are domain time."""

    run_id: UUID
    account_id: str
    playbook: str
    playbook_version: int
    tier: Tier
    state: Literal["open", "ended"]
    outcome: Outcome | None
    steps: list[str]
    step: int
    next_step_at: datetime | None
    started_at: datetime
    ended_at: datetime | None
    touches: list[TouchView]


class Runs(BaseModel):
    runs: list[RunView]
    next_cursor: str | None = None


class PlaybookView(BaseModel):
    """As loaded from ``config/playbooks`` when the process started. Steps are in words of the file."""

    name: str
    version: int
    title: str
    priority: int
    trigger: dict[str, Any]
    exclude_stages: list[str]
    freshness_days: int
    cool_down_days: int
    goal: list[str]
    steps: dict[Tier, list[str]]


class Playbooks(BaseModel):
    """Highest priority first, and how much care each segment gets."""

    playbooks: list[PlaybookView]
    touch_tiers: TouchTiers = Field(description="from config/touch_tiers.yaml")


def routes(database: Database, catalogue: Catalogue) -> APIRouter:
    """``/v1/accounts/{id}/timeline``, ``/v1/runs`` and ``/v1/playbooks``. What belongs to another workspace does not
    exist here."""
    router = APIRouter(prefix="/v1")
    reader: Any = caller(database, Scope.READ)

    # An account id may hold anything, slashes too.
    @router.get(
        "/accounts/{account_id:path}/timeline", tags=["accounts"], summary="What happened and why, newest first"
    )
    async def timeline(account_id: str, who: Principal = reader, limit: Limit = 100, cursor: Cursor = None) -> Timeline:
        after = _place(cursor, EntryPlace) if cursor else None
        unknown = Refused(404, "unknown_account", "There is no such account.")
        if "\0" in account_id:
            raise unknown
        async with database.transaction([who.workspace]) as connection:
            if not await pages.account_is_known(connection, who.workspace, account_id):
                raise unknown
            rows = await pages.timeline_page(connection, who.workspace, account_id, after, limit + 1)
        shown = rows[:limit]
        return Timeline(
            account_id=account_id,
            entries=[TimelineEntry(at=row.at, kind=row.kind, title=row.title, details=row.details) for row in shown],
            next_cursor=_cursor(EntryPlace(shown[-1].at, shown[-1].n)) if len(rows) > limit else None,
        )

    @router.get("/runs", tags=["runs"], summary="Runs and what they asked for, newest first")
    async def runs(
        who: Principal = reader,
        state: Annotated[Literal["open", "ended"] | None, Query()] = None,
        playbook: Text = None,
        account: Text = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> Runs:
        after = _place(cursor, RunPlace) if cursor else None
        async with database.transaction([who.workspace]) as connection:
            rows = await pages.runs_page(
                connection,
                who.workspace,
                state=state,
                playbook=playbook,
                account_id=account,
                after=after,
                limit=limit + 1,
            )
            shown = rows[:limit]
            touches = await pages.touches_of(connection, who.workspace, [row.run_id for row in shown])
        return Runs(
            runs=[_run_view(row, [touch for touch in touches if touch.run_id == row.run_id]) for row in shown],
            next_cursor=_cursor(RunPlace(shown[-1].started_at, shown[-1].run_id)) if len(rows) > limit else None,
        )

    @router.get("/playbooks", tags=["playbooks"], summary="Which playbooks and touch tiers are loaded")
    async def playbooks(_who: Principal = reader) -> Playbooks:
        return Playbooks(
            playbooks=[_playbook_view(playbook) for playbook in catalogue.playbooks], touch_tiers=catalogue.tiers
        )

    return router


def _run_view(row: Any, touches: list[Any]) -> RunView:
    playbook = Playbook.model_validate(row.definition)
    return RunView(
        run_id=row.run_id,
        account_id=row.account_id,
        playbook=row.playbook,
        playbook_version=playbook.version,
        tier=row.tier,
        state=row.state,
        outcome=row.outcome,
        steps=[_step_words(step) for step in playbook.steps[Tier(row.tier)]],
        step=row.step,
        next_step_at=row.next_step_at if row.state == "open" else None,
        started_at=row.started_at,
        ended_at=row.ended_at,
        touches=[TouchView.model_validate(touch, from_attributes=True) for touch in touches],
    )


def _playbook_view(playbook: Playbook) -> PlaybookView:
    given = playbook.model_dump(mode="json", exclude_defaults=True, include={"trigger"})
    return PlaybookView(
        **playbook.model_dump(mode="json", exclude={"steps", "trigger"}),
        trigger=given["trigger"],
        steps={tier: [_step_words(step) for step in steps] for tier, steps in playbook.steps.items()},
    )


def _step_words(step: Step) -> str:
    """As it stands in the file: «wait_days: 14»."""
    value = getattr(step, step.kind.value)
    return step.kind.value if value is True else f"{step.kind.value}: {value}"


P = TypeVar("P", EntryPlace, RunPlace)


def _cursor(place: EntryPlace | RunPlace) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def _place(cursor: str, kind: type[P]) -> P:
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(cursor.encode()), type=kind)
    except (ValueError, msgspec.DecodeError) as exc:
        raise Refused(422, "invalid_cursor", "This cursor is none of ours; leave it out to begin anew.") from exc
