"""Dead letters: records that a consumer group refused, kept with their original bytes, shown and brought back."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from libs.common import outbox
from libs.common.api_keys import Principal, Scope
from libs.common.db import AsyncConnection, Database, text
from libs.common.errors import Refused
from libs.common.event_log import ReadRecord, TopicPartition
from libs.common.observability import REGISTRY, Counter
from libs.common.outbox import OutboxRow
from libs.common.topics import Topic
from libs.common.web import caller

ONLY_GROUP = "kizashi-only-group"
"""Header of a replayed record: every other group passes over it."""
KEPT_DAYS = 14

_letters = Counter("kizashi_dead_letters_total", "Records refused", ["group", "topic", "reason"], registry=REGISTRY)


@dataclass(frozen=True)
class DeadLetter:
    """``reason`` is a short code to group by, ``detail`` a sentence."""

    source: TopicPartition
    record: ReadRecord
    workspace: int | None
    reason: str
    detail: str


async def bury(connection: AsyncConnection, group: str, letters: Sequence[DeadLetter]) -> None:
    """Store letters and publish them on their topic's dead-letter topic, in the caller's transaction."""
    if not letters:
        return
    rows = []
    for letter in letters:
        _letters.labels(group, letter.source.topic, letter.reason).inc()
        topic, partition = letter.source
        letter_id = uuid.uuid5(
            uuid.NAMESPACE_OID, f"{group}/{topic}/{partition}/{letter.record.offset}/{letter.reason}"
        )
        headers = {name: value.decode(errors="replace") for name, value in letter.record.headers.items()}
        headers.pop(ONLY_GROUP, None)
        await connection.execute(
            text(
                "INSERT INTO dead_letter (id, workspace_id, topic, partition, log_offset, reason, detail, key, value, headers) "
                "VALUES (:id, :workspace, :topic, :partition, :offset, :reason, :detail, :key, :value, CAST(:headers AS jsonb)) "
                "ON CONFLICT (id) DO NOTHING"
            ),
            {
                "id": letter_id,
                "workspace": letter.workspace,
                "topic": topic,
                "partition": partition,
                "offset": letter.record.offset,
                "reason": letter.reason,
                "detail": letter.detail[:2000].replace("\0", "\\0"),
                "key": letter.record.key,
                "value": letter.record.value,
                "headers": json.dumps(headers),
            },
        )
        about = {"letter": str(letter_id), "group": group, "reason": letter.reason}
        rows.append(OutboxRow(topic.dead_letters, partition, letter.record.key, letter.record.value, headers | about))
    await outbox.add_rows(connection, rows)


async def forget_old(database: Database) -> int:
    """Delete letters past their time; the answer is how many."""
    async with database.transaction() as connection:
        gone = await connection.execute(
            text(f"DELETE FROM dead_letter WHERE died_at < now() - interval '{KEPT_DAYS} days'")
        )
        return int(gone.rowcount)


class LetterSummary(BaseModel):
    id: uuid.UUID
    workspace: int | None
    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    died_at: datetime
    replayed_at: datetime | None


class LetterDetail(LetterSummary):
    """``key`` and ``value`` are the original bytes in base64; ``text`` is the value for people."""

    key: str
    value: str
    text: str
    headers: dict[str, Any]


class Replayed(BaseModel):
    id: uuid.UUID
    replayed: bool


def routes(database: Database, group: str) -> APIRouter:
    """``/v1/dead-letters`` of one service: what ``kizashi dlq list | show | replay`` speaks to."""
    router = APIRouter(prefix="/v1/dead-letters", tags=["dead letters"])
    admin: Any = caller(database, Scope.ADMIN)

    @router.get("", summary="Letters of the caller's workspace, newest first; operators also see those of none")
    async def list_letters(
        who: Principal = admin, limit: Annotated[int, Query(ge=1, le=500)] = 100
    ) -> list[LetterSummary]:
        async with database.transaction([who.workspace]) as connection:
            rows = await connection.execute(
                text(f"SELECT * FROM dead_letter WHERE {_VISIBLE} ORDER BY died_at DESC, id LIMIT :limit"),
                {**_sight(who), "limit": limit},
            )
            return [LetterSummary(**_fields(row._mapping)) for row in rows]

    @router.get("/{letter_id}", summary="One letter with its original bytes")
    async def show_letter(letter_id: uuid.UUID, who: Principal = admin) -> LetterDetail:
        async with database.transaction([who.workspace]) as connection:
            row = await _find(connection, letter_id, who)
        return LetterDetail(
            **_fields(row),
            key=base64.b64encode(row["key"]).decode(),
            value=base64.b64encode(row["value"]).decode(),
            text=bytes(row["value"]).decode(errors="replace"),
            headers=row["headers"],
        )

    @router.post("/{letter_id}/replay", summary="Give a letter once more to the group that refused it, once")
    async def replay_letter(letter_id: uuid.UUID, who: Principal = admin) -> Replayed:
        async with database.transaction([who.workspace]) as connection:
            row = await _find(connection, letter_id, who, lock=True)
            if row["replayed_at"] is not None:
                raise Refused(
                    409, "already_replayed", f"This letter was replayed at {row['replayed_at']:%Y-%m-%d %H:%M:%S}."
                )
            headers = {**row["headers"], ONLY_GROUP: group}
            await outbox.add_rows(
                connection, [OutboxRow(Topic(row["topic"]), row["partition"], row["key"], row["value"], headers)]
            )
            await connection.execute(
                text("UPDATE dead_letter SET replayed_at = now() WHERE id = :id"), {"id": letter_id}
            )
        return Replayed(id=letter_id, replayed=True)

    return router


_VISIBLE = "(workspace_id = :workspace OR (workspace_id IS NULL AND :operator))"


def _sight(who: Principal) -> dict[str, object]:
    return {"workspace": who.workspace, "operator": Scope.OPERATOR in who.scopes}


async def _find(connection: AsyncConnection, letter_id: uuid.UUID, who: Principal, lock: bool = False) -> Any:
    statement = f"SELECT * FROM dead_letter WHERE id = :id AND {_VISIBLE}" + (" FOR UPDATE" if lock else "")
    row = (await connection.execute(text(statement), {**_sight(who), "id": letter_id})).one_or_none()
    if row is None:
        raise Refused(404, "unknown_letter", f"There is no dead letter {letter_id}.")
    return row._mapping


def _fields(row: Any) -> dict[str, Any]:
    return {
        "id": row["id"],
        "workspace": row["workspace_id"],
        "topic": row["topic"],
        "partition": row["partition"],
        "offset": row["log_offset"],
        "reason": row["reason"],
        "detail": row["detail"],
        "died_at": row["died_at"],
        "replayed_at": row["replayed_at"],
    }
