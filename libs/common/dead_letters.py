"""Dead letters over HTTP: records that a consumer group refused, shown with their original bytes and brought back."""

from __future__ import annotations

import base64
import uuid
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from libs.common import outbox
from libs.common.api_keys import Principal, Scope
from libs.common.burial import LETTER, ONLY_GROUP
from libs.common.db import AsyncConnection, Database, text
from libs.common.ddl import CLAIM_WINDOW_DAYS
from libs.common.errors import Refused
from libs.common.event_log import MAX_RECORD_BYTES
from libs.common.outbox import OutboxRow
from libs.common.topics import PARTITIONS, Topic
from libs.common.web import caller


class LetterSummary(BaseModel):
    """``replayed_at``: it was given back to its group. ``settled_at``: since then it has had its effects, once."""

    id: uuid.UUID
    workspace: int | None
    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    died_at: datetime
    replayed_at: datetime | None
    settled_at: datetime | None


class LetterDetail(LetterSummary):
    """``key`` and ``value`` are the original bytes in base64; ``text`` and ``headers`` are for people."""

    key: str
    value: str
    text: str
    headers: dict[str, str]


class Replayed(BaseModel):
    id: uuid.UUID
    replayed: bool


class Allowance(BaseModel):
    """So many more records of a partition may be refused in a row before the breaker stops it again."""

    topic: Topic
    partition: int = Field(ge=0, lt=PARTITIONS)
    records: int = Field(ge=1, le=1_000_000)


_SUMMARY = (
    "id, workspace_id AS workspace, topic, partition, log_offset AS offset, reason, detail, "
    "died_at, replayed_at, settled_at"
)
_VISIBLE = "(workspace_id = :workspace OR (workspace_id IS NULL AND :operator))"
# Each part ends after the page, however many letters others have: BETWEEN and this order leave the planner no index but
# that of workspaces.
_PAGE = f"""
SELECT * FROM (
    (SELECT {_SUMMARY} FROM dead_letter WHERE workspace_id BETWEEN :workspace AND :workspace
     ORDER BY workspace_id, died_at DESC, id LIMIT :limit)
    UNION ALL
    (SELECT {_SUMMARY} FROM dead_letter WHERE workspace_id IS NULL AND :operator
     ORDER BY workspace_id, died_at DESC, id LIMIT :limit)
) AS both_parts ORDER BY died_at DESC, id LIMIT :limit
"""


def routes(database: Database, group: str) -> APIRouter:
    """``/v1/dead-letters`` of one service: what ``kizashi dlq list | show | replay`` speaks to."""
    router = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"])
    admin: Any = caller(database, Scope.ADMIN)
    operator: Any = caller(database, Scope.OPERATOR)

    @router.get("", summary="Letters of the caller's workspace, newest first; operators also see those of none")
    async def list_letters(
        who: Principal = admin, limit: Annotated[int, Query(ge=1, le=500)] = 100
    ) -> list[LetterSummary]:
        async with database.transaction([who.workspace]) as connection:
            rows = await connection.execute(text(_PAGE), {**_sight(who), "limit": limit})
            return [LetterSummary(**row._mapping) for row in rows]

    @router.get("/{letter_id}", summary="One letter with its original bytes")
    async def show_letter(letter_id: uuid.UUID, who: Principal = admin) -> LetterDetail:
        async with database.transaction([who.workspace]) as connection:
            letter = dict(await _find(connection, letter_id, who))
        key, value, headers = (bytes(letter.pop(name)) for name in ("key", "value", "headers"))
        return LetterDetail(
            **letter,
            key=base64.b64encode(key).decode(),
            value=base64.b64encode(value).decode(),
            text=value.decode(errors="replace"),
            headers={name: one.decode(errors="replace") for name, one in outbox.unpack_headers(headers).items()},
        )

    @router.post("/{letter_id}/replay", summary="Give a letter once more to the group that refused it, once")
    async def replay_letter(letter_id: uuid.UUID, who: Principal = admin) -> Replayed:
        async with database.transaction([who.workspace]) as connection:
            letter = await _find(connection, letter_id, who, lock=True)
            for already in ("replayed", "settled"):
                if (at := letter[f"{already}_at"]) is not None:
                    raise Refused(409, f"already_{already}", f"This letter was {already} at {at:%Y-%m-%d %H:%M:%S}.")
            if letter["too_old"]:
                raise Refused(
                    409,
                    "too_old",
                    f"This letter never decoded, and after {CLAIM_WINDOW_DAYS} days nobody can tell whether the same "
                    "event has been applied since.",
                )
            headers = outbox.unpack_headers(bytes(letter["headers"]))
            headers |= {ONLY_GROUP: group.encode(), LETTER: str(letter_id).encode()}
            row = OutboxRow(
                Topic(letter["topic"]), letter["partition"], bytes(letter["key"]), bytes(letter["value"]), headers
            )
            if row.record.size > MAX_RECORD_BYTES:
                raise Refused(409, "too_large", "With the headers of a replay this letter is too large for the log.")
            await outbox.add_rows(connection, [row])
            await connection.execute(
                text("UPDATE dead_letter SET replayed_at = now() WHERE id = :id"), {"id": letter_id}
            )
        return Replayed(id=letter_id, replayed=True)

    @router.post("/allowance", summary="Let a partition that the breaker stopped refuse so many more records")
    async def allow(allowance: Allowance, _who: Principal = operator) -> Allowance:
        async with database.transaction() as connection:
            found = await connection.execute(
                text(
                    "UPDATE consumer_position SET refused_in_a_row = -CAST(:records AS int) "
                    "WHERE topic = :topic AND partition = :partition"
                ),
                allowance.model_dump(mode="json"),
            )
        if not found.rowcount:
            raise Refused(404, "unknown_partition", f"{group} does not read {allowance.topic}/{allowance.partition}.")
        return allowance

    return router


def _sight(who: Principal) -> dict[str, object]:
    return {"workspace": who.workspace, "operator": Scope.OPERATOR in who.scopes}


async def _find(connection: AsyncConnection, letter_id: uuid.UUID, who: Principal, lock: bool = False) -> Any:
    """Raises Refused 404: a letter of another workspace is as unknown as one that never was."""
    statement = (
        f"SELECT {_SUMMARY}, key, value, headers, "
        f"claim IS NULL AND died_at < now() - interval '{CLAIM_WINDOW_DAYS} days' AS too_old "
        f"FROM dead_letter WHERE id = :id AND {_VISIBLE}" + (" FOR UPDATE" if lock else "")
    )
    row = (await connection.execute(text(statement), {**_sight(who), "id": letter_id})).one_or_none()
    if row is None:
        raise Refused(404, "unknown_letter", f"There is no dead letter {letter_id}.")
    return row._mapping
