"""Timeline entries, each written once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from libs.common.db import AsyncConnection, text
from services.playbook.domain.timeline import Entry


async def add_entries(connection: AsyncConnection, entries: Sequence[Entry]) -> None:
    """In the given order; an entry that is there already stays as it is."""
    await connection.execute(
        text(
            """
            INSERT INTO timeline_entry (workspace_id, account_id, entry_id, at, kind, title, details)
            SELECT workspace_id, account_id, entry_id, at, kind, title, CAST(details AS jsonb)
            FROM unnest(CAST(:workspaces AS bigint[]), CAST(:accounts AS text[]), CAST(:ids AS uuid[]),
                        CAST(:at AS timestamptz[]), CAST(:kinds AS text[]), CAST(:titles AS text[]),
                        CAST(:details AS text[])) WITH ORDINALITY
                 AS given (workspace_id, account_id, entry_id, at, kind, title, details, n)
            ORDER BY n
            ON CONFLICT (workspace_id, account_id, entry_id) DO NOTHING
            """
        ),
        {
            "workspaces": [entry.workspace for entry in entries],
            "accounts": [entry.account_id for entry in entries],
            "ids": [entry.entry_id for entry in entries],
            "at": [entry.at for entry in entries],
            "kinds": [entry.kind.value for entry in entries],
            "titles": [entry.title for entry in entries],
            "details": [msgspec.json.encode(entry.details).decode() for entry in entries],
        },
    )
