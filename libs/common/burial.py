"""Burial: how a record that a consumer group refuses becomes a dead letter, and how its replay is let in once."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from libs.common import outbox
from libs.common.db import AsyncConnection, Database, text
from libs.common.ddl import CLAIM_WINDOW_DAYS
from libs.common.event_log import MAX_RECORD_BYTES, ReadRecord, TopicPartition
from libs.common.observability import REGISTRY, Counter
from libs.common.outbox import OutboxRow

ONLY_GROUP = "kizashi-only-group"
"""Header of a replayed record: every other group passes over it."""
LETTER = "kizashi-letter"
"""Header of a replayed record, and of the copy on the dead-letter topic: the id of the letter."""
KEPT_DAYS = 14
FORGOTTEN_AT_ONCE = 5000

_letters = Counter("kizashi_dead_letters_total", "Records refused", ["group", "topic", "reason"], registry=REGISTRY)


@dataclass(frozen=True)
class DeadLetter:
    """``reason`` is a short code to group by, ``detail`` a sentence. ``claim`` is the event's, if there is an event."""

    source: TopicPartition
    record: ReadRecord
    workspace: int | None
    claim: bytes | None
    reason: str
    detail: str

    def id(self, group: str, log_identity: str) -> uuid.UUID:
        """The same record, refused again after somebody moved the position back, is the same letter."""
        place = f"{group}/{log_identity}/{self.source.topic}/{self.source.partition}/{self.record.offset}"
        return uuid.uuid5(uuid.NAMESPACE_OID, place)


async def bury(connection: AsyncConnection, group: str, log_identity: str, letters: Sequence[DeadLetter]) -> None:
    """Store letters and publish them on their topic's dead-letter topic, in the caller's transaction."""
    if not letters:
        return
    ids = [letter.id(group, log_identity) for letter in letters]
    headers = [
        {name: value for name, value in letter.record.headers.items() if name not in (ONLY_GROUP, LETTER)}
        for letter in letters
    ]
    await connection.execute(
        text(
            "INSERT INTO dead_letter "
            "(id, workspace_id, topic, partition, log_offset, reason, detail, key, value, headers, claim) "
            "SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:workspaces AS bigint[]), CAST(:topics AS text[]), "
            "CAST(:partitions AS int[]), CAST(:offsets AS bigint[]), CAST(:reasons AS text[]), "
            "CAST(:details AS text[]), CAST(:keys AS bytea[]), CAST(:bodies AS bytea[]), CAST(:headers AS bytea[]), "
            "CAST(:claims AS uuid[])) ON CONFLICT (id) DO NOTHING"
        ),
        {
            "ids": ids,
            "workspaces": [letter.workspace for letter in letters],
            "topics": [letter.source.topic.value for letter in letters],
            "partitions": [letter.source.partition for letter in letters],
            "offsets": [letter.record.offset for letter in letters],
            "reasons": [_storable(letter.reason)[:100] for letter in letters],
            "details": [_storable(letter.detail)[:2000] for letter in letters],
            "keys": [letter.record.key for letter in letters],
            "bodies": [letter.record.value for letter in letters],
            "headers": [outbox.pack_headers(kept) for kept in headers],
            "claims": [uuid.UUID(bytes=letter.claim) if letter.claim else None for letter in letters],
        },
    )
    await outbox.add_rows(
        connection,
        [
            _copy(letter, kept | {LETTER: str(letter_id).encode(), "kizashi-group": group.encode()})
            for letter, letter_id, kept in zip(letters, ids, headers, strict=True)
        ],
    )


def count(group: str, letters: Sequence[DeadLetter]) -> None:
    """To be called when their transaction is committed."""
    for letter in letters:
        _letters.labels(group, letter.source.topic, letter.reason).inc()


async def settle(connection: AsyncConnection, ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
    """Those of the letters whose replay may be applied, now and never again.

    Whether an event has been applied since it died is known from claims, and from ``settled_at`` once its claim is
    forgotten; of a letter that never decoded nobody knows its claim, so it comes back only within the claims' window.
    """
    rows = await connection.execute(
        text(
            "UPDATE dead_letter SET settled_at = now() WHERE id = ANY (CAST(:ids AS uuid[])) AND settled_at IS NULL "
            f"AND (claim IS NOT NULL OR died_at > now() - interval '{CLAIM_WINDOW_DAYS} days') RETURNING id"
        ),
        {"ids": sorted(ids)},
    )
    return {row.id for row in rows}


async def forget_old(database: Database) -> bool:
    """Delete letters past their time, at most so many at once. True when there may be more."""
    async with database.transaction() as connection:
        gone = await connection.execute(
            text(
                # An array is looked up by the index; IN would be joined with all letters that there are.
                "DELETE FROM dead_letter WHERE id = ANY (ARRAY(SELECT id FROM dead_letter WHERE died_at < now() "
                f"- interval '{KEPT_DAYS} days' ORDER BY died_at LIMIT {FORGOTTEN_AT_ONCE}))"
            )
        )
        return int(gone.rowcount) == FORGOTTEN_AT_ONCE


def _copy(letter: DeadLetter, headers: dict[str, bytes]) -> OutboxRow:
    """The record for the dead-letter topic; without its value when the headers make it larger than the log takes."""
    topic, partition = letter.source
    row = OutboxRow(topic.dead_letters, partition, letter.record.key, letter.record.value, headers)
    if row.record.size <= MAX_RECORD_BYTES:
        return row
    about = {name: value for name, value in headers.items() if name.startswith("kizashi-")}
    return OutboxRow(row.topic, partition, letter.record.key[:1000], b"", about | {"kizashi-value-left-out": b"true"})


def _storable(words: str) -> str:
    """PostgreSQL takes neither NUL nor lone surrogates, and a refusal must never be refused."""
    return words.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
